"""Trainings as processes: as README has them, on a terminal, where one is asked to end, and of a launcher."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from commands.runs import EASY, SHORT, TINY, run, user_folder

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return user_folder(tmp_path_factory.mktemp("user"))


def test_demo_as_the_readme_has_it(folder: Path) -> None:
    """The whole embedded dataset, and nothing patched."""
    said = run(folder, "tools/train.py", f"configs/{TINY}.py", "--demo", "--cfg-options", *SHORT)
    assert re.search(r"^coco/bbox_mAP_50 +0\.\d+", said, re.MULTILINE)
    assert len(list((folder / "data" / "demo" / "coco" / "train2017").iterdir())) == 1200
    checkpoint = f"work_dirs/{TINY}_demo/iter_4.pth"
    said = run(folder, "tools/test.py", f"configs/{TINY}.py", checkpoint, "--demo", "--cfg-options", *EASY)
    assert re.search(r"coco/bbox_mAP_50: 0\.\d+", said)


def test_killed_training_resumes(folder: Path) -> None:
    """The first half runs on a terminal, where a live bar stands for the plain lines; it is asked to end, and saves."""
    words = [
        "tools/train.py",
        f"configs/{TINY}.py",
        "--demo",
        "--work-dir",
        "killed",
        "--cfg-options",
        "default_hooks.checkpoint.interval=2",
        "train_cfg.val_interval=100000",
        "default_hooks.logger.interval=1",
    ]
    marker = folder / "killed" / "last_checkpoint"
    shown = watch_until(marker, folder, [*words, "train_cfg.max_iters=100000"])
    assert re.search(r"/100000 .*loss \d\.\d+  lr \d\.\d+e-0\d  \d+ MB", shown)
    assert "Iter(train)" not in shown
    assert "SIGTERM: saving and stopping after this iteration" in shown
    saved = int(re.search(r"stopped after (\d+) iterations", shown)[1])
    assert Path(marker.read_text(encoding="utf-8")) == folder / "killed" / "interrupted.pth"
    said = run(folder, *words, f"train_cfg.max_iters={saved + 2}", "--resume")
    assert re.search(rf"resumed from killed/interrupted.pth\s+at\s+iteration\s+{saved}\b", said)
    trained = [int(number) for number in re.findall(r"Iter\(train\) \[ *(\d+)/", said)]
    assert trained == [saved + 1, saved + 2]
    assert not (folder / "killed" / "interrupted.pth").exists()


def watch_until(marker: Path, folder: Path, words: list[str]) -> str:
    """Run a tool on a pseudo-terminal, ask it to end once the file `marker` is there, and return what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=theirs, env={**os.environ, "COLUMNS": "150"})
    os.close(theirs)
    shown = b""
    asked = False
    deadline = time.monotonic() + 300
    with suppress(OSError):  # which Linux raises once the tool has closed its end
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                shown += os.read(ours, 65536)
            if not asked and marker.is_file():
                process.send_signal(signal.SIGTERM)
                asked = True
    process.wait(60)
    os.close(ours)
    assert process.returncode == 128 + signal.SIGTERM
    return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode(errors="replace")


def test_two_processes_on_cpu(folder: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    options = ["--demo", "--launcher", "pytorch", "--work-dir", "two", "--cfg-options", *SHORT, "train_dataloader.batch_size=1"]
    said = run(folder, *launcher, "tools/train.py", f"configs/{TINY}.py", *options)
    assert "on each of 2 processes" in " ".join(said.split())
    assert re.search(r"coco/bbox_mAP_50: 0\.\d+", said)
    assert (folder / "two" / "iter_4.pth").is_file()

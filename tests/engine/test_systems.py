"""Other machines: without the modules and signals of Unix, with the start method `spawn`, without the training stack."""

import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest
from jobs import write_jobs
from makers import HOME
from mmengine.config import Config

from mmvit.compat.systems import file_name, typed
from mmvit.config import roots
from mmvit.engine.checkpoints import CheckpointHook

pytestmark = pytest.mark.stack

# Every process runs this first: mmvit finds no module and no function that Windows lacks. Other packages do, since
# they ask the system's name first.
WITHOUT = """
import builtins, os
import platformdirs.unix  # older ones take getuid from os when they are imported
LACKING = ("resource", "fcntl", "pwd", "grp", "termios")
original = builtins.__import__
def lacking(name, globals=None, *others, **named):
    if name in LACKING and str((globals or {}).get("__name__")).startswith("mmvit"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return original(name, globals, *others, **named)
builtins.__import__ = lacking
for name in ("sched_getaffinity", "O_DIRECTORY", "getuid"):
    if hasattr(os, name):
        delattr(os, name)
"""


def run(words: list[str], folder: Path, *modules: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join(map(str, [*modules, HOME]))
    cache = str(folder / "cache")  # `list` keeps its rows in one
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": cache}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.slow
def test_a_training_with_spawned_workers_needs_no_module_of_unix(tmp_path: Path) -> None:
    """By `python -m mmvit`, whose main module a spawned worker does not import by name."""
    write_jobs(tmp_path, 5)
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(WITHOUT, encoding="utf-8")
    options = ["env_cfg.mp_cfg.mp_start_method=spawn", "train_dataloader.num_workers=1", "train_cfg.max_iters=2"]
    options += ["train_cfg.val_interval=2", "default_hooks.checkpoint.interval=2"]
    done = run(
        ["-m", "mmvit", "train", "segmenter.py", "--work-dir", "out", "--cfg-options", *options], tmp_path, tmp_path / "blocked"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "iter_2.pth").is_file()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("traffic light", "traffic light"),
        ("2026-11-29 08:20", "2026-11-29 08_20"),
        ('a/b\\c<d>e"f|g*h?\n', "a_b_c_d_e_f_g_h__"),
        ("etc. . ", "etc"),
        ("con", "_con"),
        ("Com1.old", "_Com1.old"),
        ("console", "console"),
        (" ..", "unnamed"),
        ("\udcff.old", "_.old"),
        ("猫" * 100, "猫" * 60),
    ],
)
def test_file_names_that_each_system_takes(text: str, name: str) -> None:
    assert file_name(text) == file_name(name) == name


def test_the_best_of_a_class_has_a_name_that_each_system_takes() -> None:
    hook = CheckpointHook(save_best="coco/crack: <5 mm?_precision", rule="greater")
    assert f"best_{hook.key_indicators[0]}_epoch_1.pth" == "best_coco/crack_ _5 mm__precision_epoch_1.pth"
    assert hook.is_better_than["coco/crack: <5 mm?_precision"](0.2, 0.1)


@pytest.mark.parametrize(
    ("system", "line"), [("linux", r"predict 'my run/b.pth' 'a\b.pth' c"), ("win32", r'predict "my run/b.pth" a\b.pth c')]
)
def test_commands_as_each_terminal_takes_them(monkeypatch: pytest.MonkeyPatch, system: str, line: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert typed("predict", "my run/b.pth", r"a\b.pth", "c") == line


def test_data_roots_with_backslashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(roots, "PurePath", PureWindowsPath)
    dataset = dict(type="CocoDataset", data_root="D:/coco/", ann_file=r"D:\coco\val\a.json")
    evaluator = dict(type="CocoMetric", ann_file=r"D:\coco\val\a.json")
    cfg = Config(dict(val_dataloader=dict(dataset=dataset), val_evaluator=evaluator))
    roots.set_data_root(cfg, tmp_path)
    assert cfg.val_dataloader.dataset.ann_file == cfg.val_evaluator.ann_file == f"{tmp_path}/val/a.json"


BLOCKED = ["torch", "torchvision", "timm", "mmcv", "mmdet", "mmseg", "mmengine"]


@pytest.mark.parametrize(
    "words", [["list"], ["doctor"], ["predict", "model.pth", "photo.jpg"], ["train", "config.py"]], ids=" ".join
)
def test_without_the_stack_commands_say_what_is_missing(words: list[str], tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({BLOCKED})); from mmvit.__main__ import main; sys.exit(main({words}))"
    )
    (tmp_path / "photo.jpg").touch()
    done = run(["-c", program], tmp_path)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert f"error: mmvit {words[0]} needs " in done.stderr
    assert "pip install 'mmvit[openmmlab]'" in done.stderr


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mmvit", "list"]
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
    assert said == ""
    assert process.returncode == 0


def test_the_command_finds_modules_of_the_current_folder(tmp_path: Path) -> None:
    """As `python -m mmvit` does: a script's own folder comes first otherwise."""
    (tmp_path / "own_head.py").write_text("print('imported')", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "mmvit"
    script.write_text(
        "import sys; from mmvit import __main__; __main__.COMMANDS['own'] = __main__.Command('own_head', '', '__len__')\n"
        "try:\n    __main__.main(['own'])\nexcept AttributeError:\n    pass\n",
        encoding="utf-8",
    )
    assert run([str(script)], tmp_path).stdout == "imported\n"

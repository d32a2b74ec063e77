"""A full disk is one message, whatever writes."""

import subprocess
import sys
from pathlib import Path

import pytest
from makers import HOME, needs_segmenters
from tiny import write_checkpoint, write_config

pytestmark = [pytest.mark.stack, pytest.mark.once, needs_segmenters]
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(
            ["export", "CHECKPOINT", "--to", "pt2", "--size", "64x64", "--out", "OUT/model.pt2"], marks=pytest.mark.slow
        ),
        ["convert", "CHECKPOINT", "--to", "mmvit", "--out", "OUT/model.pth"],
        ["convert", "CHECKPOINT", "--to", "safetensors", "--out", "OUT/model.safetensors"],
    ],
    ids=lambda words: words[-1],
)
def test_a_full_disk_is_one_message(tmp_path: Path, words: list[str]) -> None:
    config = write_config(tmp_path, "fpn", "VAN")
    checkpoint = write_checkpoint(config)
    out = tmp_path / "out"
    out.mkdir()
    given = [word.replace("CHECKPOINT", str(checkpoint)).replace("OUT", str(out)) for word in words]
    given = [given[0], str(config), *given[1:]] if words[0] == "export" else given
    program = f"{LIMIT}from mmvit.__main__ import main; raise SystemExit(main({given}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=HOME)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].endswith("cannot be written: the disk is full. Free some of it")
    assert "Traceback" not in done.stderr
    assert list(out.iterdir()) == []

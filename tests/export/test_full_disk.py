"""A full disk is one message, whatever writes."""

import resource
from pathlib import Path

import pytest
from makers import needs_heads
from tiny import write_model

from mmvit.__main__ import main

pytestmark = [pytest.mark.stack, pytest.mark.once, needs_heads]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(
            ["export", "CONFIG", "CHECKPOINT", "--to", "pt2", "--size", "64x64", "--out", "OUT/model.pt2"],
            marks=pytest.mark.slow,
        ),
        ["convert", "CHECKPOINT", "--to", "mmvit", "--out", "OUT/model.pth"],
        ["convert", "CHECKPOINT", "--to", "safetensors", "--out", "OUT/model.safetensors"],
    ],
    ids=lambda words: words[-1],
)
def test_a_full_disk_is_one_message(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture) -> None:
    """The limit on a file's size stands for a full disk: the system refuses to write on in both cases."""
    config, checkpoint = write_model(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    places = {"CONFIG": config, "CHECKPOINT": checkpoint}
    given = [str(places.get(word, word)).replace("OUT", str(out)) for word in words]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        assert main(given) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err.strip().splitlines()[-1].endswith("cannot be written: the disk is full. Free some of it")
    assert list(out.iterdir()) == []

"""Exports that several tests look at, made once a process: each costs ten seconds and more."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tiny import write_checkpoint, write_config

from mmvit.commands import export


class Exported(NamedTuple):
    """A config, its checkpoint, and the file that `mmvit export` wrote of them."""

    config: Path
    checkpoint: Path
    file: Path


Export = Callable[..., Exported]


def exporter(new_folder: Callable[[], Path]) -> Export:
    """Return a function from HEAD-FAMILY, a file's name and further words of the command to what was exported."""

    @cache
    def trained(name: str) -> tuple[Path, Path]:
        config = write_config(new_folder(), *name.split("-"))
        return config, write_checkpoint(config)

    @cache
    def exported(name: str, file: str = "model.onnx", *words: str) -> Exported:
        config, checkpoint = trained(name)
        out = config.parent / file
        assert export.main([str(config), str(checkpoint), "--out", str(out), *words]) == 0
        return Exported(config, checkpoint, out)

    return exported

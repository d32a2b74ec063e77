"""Exports that several tests look at, made once a process: each costs ten seconds and more."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tiny import require_same, write_model

import mmvit
from mmvit.commands import export
from mmvit.predict.results import Result


class Exported(NamedTuple):
    """A config, its checkpoint, and the file that `mmvit export` wrote of them."""

    config: Path
    checkpoint: Path
    file: Path

    def require_same(self, images: Path, least: int = 6) -> list[Result]:
        """Fail unless the file finds what the checkpoint finds, and return it."""
        found = list(mmvit.Predictor(None, self.file, score=0.02)(images))
        wanted = mmvit.Predictor(self.config, self.checkpoint, score=0.02, device="cpu")(images)
        for one, other in zip(found, wanted, strict=True):
            require_same(one, other, least=least)
        return found


Export = Callable[..., Exported]


def exporter(new_folder: Callable[[], Path]) -> Export:
    """Return a function from HEAD-FAMILY, a file's name and further words of the command to what was exported."""

    @cache
    def trained(name: str) -> tuple[Path, Path]:
        return write_model(new_folder(), *name.split("-"))

    @cache
    def exported(name: str, file: str = "model.onnx", *words: str) -> Exported:
        config, checkpoint = trained(name)
        out = config.parent / file
        assert export.main([str(config), str(checkpoint), "--out", str(out), *words]) == 0
        return Exported(config, checkpoint, out)

    return exported

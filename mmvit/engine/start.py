"""The checkpoint that a run begins from: read once, checked, and handed to mmengine."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, Runner

from ..errors import InputError
from ..weights.archives import read_checkpoint
from ..weights.downloads import fetch
from ..weights.loading import require_match, tensors_of
from .models import unwrapped


class Start:
    """What `load_from` of a config names.

    Attributes:
        source: path or URL, as the config has it.
    """

    def __init__(self, source: str) -> None:
        """
        Raises:
            CheckpointError: it is not there, not available, or no checkpoint.
        """
        self.source = source
        self.path: Path = fetch(source)
        self.content: Any = read_checkpoint(self.path)

    def require_match(self, runner: Runner) -> None:
        """Check that it is a state of the runner's very model: mmengine loads what fits and goes on.

        Raises:
            CheckpointError: another model's.
        """
        model = runner.model
        if isinstance(model, dict):  # a FlexibleRunner builds its model as it begins
            with torch.device("meta"):
                model = MODELS.build(deepcopy(model))
        state = tensors_of(self.content, self.path, self.source)
        require_match(unwrapped(model), {name.removeprefix("module."): value for name, value in state.items()}, self.source)

    def require_progress(self) -> None:
        """Check that training can go on from it, where mmengine would stop at a key or begin anew.

        Raises:
            InputError: weights alone, or a text that mmengine would run.
        """
        anew = f"To begin anew from its weights, without --resume: --cfg-options load_from={self.source}"
        lacking = [part for part in ("meta", "message_hub", "optimizer") if part not in self.content]
        if lacking:
            raise InputError(
                f"--resume {self.source}: no {', '.join(lacking)} in it. Expected a checkpoint from which training can go on, "
                f"which best_*.pth and released files are not. {anew}"
            )
        if "config" in self.content["meta"]:
            raise InputError(
                f"--resume {self.source}: it has meta.config, which mmengine never writes and would run as Python. {anew}"
            )

    def hand_over(self) -> None:
        """Let mmengine take the content instead of reading the file again; it is kept nowhere afterwards."""
        pattern = f"{re.escape(self.source)}$"  # mmengine matches schemes from the start of a path, longer ones first
        content = [self.content]

        def load_from_memory(filename: str, map_location: Any = None) -> Any:
            CheckpointLoader._schemes.pop(pattern, None)
            return content.pop()

        CheckpointLoader.register_scheme(pattern, load_from_memory, force=True)
        self.content = None


def start_of(cfg: Config) -> Start | None:
    """Read what `load_from` names; None without it, or where only mmengine knows its scheme.

    mmengine reads the file when all else is built, and downloads it without looking whether all of it came.

    Raises:
        CheckpointError: as for `Start`.
    """
    source = str(cfg.get("load_from") or "")
    known = "://" not in source or source.startswith(("http://", "https://"))
    return Start(source) if source and known else None

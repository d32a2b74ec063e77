"""The checkpoint that a run begins from: read once, checked, and handed to mmengine under the names of the runner's model.

mmengine loads what has equal names and goes on without the rest. What is to be evaluated or resumed must therefore fit exactly
here, and weights under other names (of mmdet's own networks, of the authors' detectors) are handed over translated.
"""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, Runner

from ..errors import InputError
from ..weights.archives import read_checkpoint
from ..weights.downloads import OWN_SCHEMES, fetch
from ..weights.loading import require_match
from ..weights.whole import whole_of
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
        self.content: Any = read_checkpoint(self.path, source)

    def fit(self, runner: Runner, exactly: bool) -> None:
        """Bring it under the names of a runner's model, whose backbone takes over the file's eps.

        Args:
            exactly: whether it must be a state of that very model: not where training begins from another's weights.

        Raises:
            CheckpointError: another model's, or ambiguous.
        """
        built = not isinstance(runner.model, dict)  # a FlexibleRunner builds its model as it begins
        if built:
            model = unwrapped(runner.model)
        else:
            with torch.device("meta"):
                model = MODELS.build(deepcopy(runner.model))
        whole = whole_of(self.content, self.path, self.source, model)
        if exactly:
            require_match(model, whole.state, self.source)
        eps = getattr(getattr(model, "backbone", None), "norm_eps", None)
        if not built and eps is not None:
            runner.model["backbone"]["norm_eps"] = eps
        if whole.translated:
            print_log(f"{self.source}: {whole}", logger="current")
            rest = {
                key: value for key, value in self.content.items() if key in ("message_hub", "optimizer", "param_schedulers")
            }
            self.content = {**rest, "meta": dict(whole.meta), "state_dict": dict(whole.state)}

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
    known = "://" not in source or source.startswith(("http://", "https://", *OWN_SCHEMES))
    return Start(source) if source and known else None

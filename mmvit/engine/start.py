"""The checkpoint that a run starts from: it is read once, checked, and passed to mmengine under the names of the model.

mmengine loads the tensors with matching names and ignores the rest. A checkpoint to evaluate or resume must therefore fit
exactly. Other names, such as those of mmdet's own networks or the authors' detectors, are translated.
"""

import re
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, Runner

from ..checks.table import warn
from ..compat.texts import plain_values, text_of
from ..config.datasets import datasets_of
from ..config.schedules import is_first
from ..config.sizes import other_sizes
from ..config.work_dirs import RESULTS, run_of, runs_in
from ..errors import InputError, counted, first_few
from ..predict.models import dataset_meta
from ..weights.archives import implausible, read_checkpoint
from ..weights.downloads import OWN_SCHEMES, fetch
from ..weights.loading import require_match
from ..weights.whole import whole_of
from .models import unwrapped
from .results import read_results
from .terminal import near


class Start:
    """The checkpoint in a config's `load_from`, whose path or URL there is `source`.

    Raises:
        CheckpointError: it is missing, not available, or no checkpoint.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.path: Path = fetch(source)
        self.content: Any = read_checkpoint(self.path, source)

    def fit(self, runner: Runner, exactly: bool) -> None:
        """Translate it to the names of a runner's model, and set the eps of the model's backbone to the file's.

        Args:
            exactly: whether it must have exactly the tensors of the model; a training may start from another model's weights.

        Raises:
            CheckpointError: it is another model's, or ambiguous.
        """
        built = not isinstance(runner.model, dict)  # a FlexibleRunner builds its model later
        if built:
            model = unwrapped(runner.model)
        else:
            with torch.device("meta"):
                model = MODELS.build(deepcopy(runner.model))
        whole = whole_of(self.content, self.path, self.source, model)
        if fault := implausible(whole.state, self.source):
            warn("checkpoint", fault)
        if exactly:
            require_match(model, whole.state, self.source)
            self.compare_sizes(runner.cfg)
        elif anew := [name for name, value in model.named_parameters() if _shape(whole.state.get(name)) != value.shape]:
            count = counted(len(anew), "tensor")
            told = f"{near(self.source)}, without {count} of the model that it lacks or has in another shape: {first_few(anew)}"
            MMLogger.get_current_instance().info(told, extra={"first_line": "weights"})
        eps = getattr(getattr(model, "backbone", None), "norm_eps", None)
        if not built and eps is not None:
            runner.model["backbone"]["norm_eps"] = eps
        if whole.translated:
            MMLogger.get_current_instance().info(f"{self.source}: {whole}", extra={"first_line": "weights"})
            rest = {
                key: value for key, value in self.content.items() if key in ("message_hub", "optimizer", "param_schedulers")
            }
            self.content = {**rest, "meta": dict(whole.meta), "state_dict": dict(whole.state)}

    def compare_classes(self, cfg: Config, split: str) -> None:
        """Report that a dataset's classes have other names than the checkpoint's; labels are only numbers.

        Raises:
            InputError: they are the same in another order, and the checkpoint is to be tested or resumed.
        """
        theirs = [str(name) for name in dataset_meta(self.content).get("classes") or ()]
        for view in datasets_of(cfg, (split,)):
            ours = view.classes()
            changed = [label for label, pair in enumerate(zip(ours, theirs, strict=False)) if len(set(pair)) > 1]
            if len(ours) != len(theirs) or not changed:
                continue
            label = changed[0]
            told = (
                f"{self.source}: its classes are not those of {view.key}: number {label} is {theirs[label]} in the checkpoint "
                f"and {ours[label]} in the config, and so {len(changed)} of {len(ours)}"
            )
            remedy = f"Write {view.key}.metainfo.classes in the checkpoint's order: {first_few(theirs)}"
            if sorted(ours) != sorted(theirs):
                warn("classes", told, "If they are other classes, and not only other names, figures mean nothing")
            elif split == "test" or cfg.get("resume"):
                raise InputError(f"{told}: the same names in another order. {remedy}")
            else:
                warn("classes", f"{told}: the same names in another order, for which the head is not trained", remedy)
            return

    def compare_sizes(self, cfg: Config) -> None:
        """Report that images have other sizes than in the training."""
        if others := other_sizes(cfg, plain_values(text_of(self.content), ("test_dataloader",))):
            own = self.path.parent / Path(cfg.filename or "").name
            warn("checkpoint", others, f"{near(str(own))} has the training's" if own.is_file() else "")

    def carry_over(self, cfg: Config) -> bool:
        """Copy the logs and validations beside it into a work dir that has none; return whether this process did.

        The first of several does: the others may look when it has begun. What was tested stays behind: checkpoints to come
        will have the names of those.
        """
        old, new = self.path.parent, Path(cfg.work_dir)
        runs = runs_in(old)
        if not is_first(cfg) or run_of(self.content) not in runs or runs_in(new) or (new / RESULTS).exists():
            return False
        for file in (old / name / "vis_data" / part for name in runs for part in ("scalars.json", "config.py")):
            if file.is_file():
                copy = new / file.relative_to(old)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
        if results := read_results(old):
            replace(results, work_dir=str(new), tests={}).write()
        return True

    def require_progress(self) -> None:
        """Check that training can continue from it; mmengine would raise a KeyError or start again.

        Raises:
            InputError: it holds only weights, or a text that mmengine would run.
        """
        anew = f"To start a new training from its weights, without --resume: --cfg-options load_from={self.source}"
        lacking = [part for part in ("meta", "message_hub", "optimizer") if part not in self.content]
        if lacking:
            raise InputError(
                f"--resume {self.source}: no {', '.join(lacking)} in it. Expected a checkpoint with the state of a training, "
                f"unlike best_*.pth and released files. {anew}"
            )
        if "config" in self.content["meta"]:
            raise InputError(
                f"--resume {self.source}: it has meta.config, which mmengine never writes and would run as Python. {anew}"
            )

    def hand_over(self) -> None:
        """Let mmengine take the content instead of reading the file again; afterwards nothing keeps it in memory."""
        pattern = f"{re.escape(self.source)}$"  # mmengine matches schemes from the start of a path, longer ones first
        content = [self.content]

        def load_from_memory(filename: str, map_location: Any = None) -> Any:
            CheckpointLoader._schemes.pop(pattern, None)
            return content.pop()

        CheckpointLoader.register_scheme(pattern, load_from_memory, force=True)
        self.content = None


def _shape(value: Any) -> Any:
    return getattr(value, "shape", None)


def start_of(cfg: Config) -> Start | None:
    """Read the checkpoint in `load_from`; return None if there is none, or if only mmengine knows its scheme.

    mmengine would read it after building everything else, and would not check whether a download is complete.

    Raises:
        CheckpointError: see `Start`.
    """
    source = str(cfg.get("load_from") or "")
    known = "://" not in source or source.startswith(("http://", "https://", *OWN_SCHEMES))
    return Start(source) if source and known else None

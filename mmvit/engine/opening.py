"""The first lines of a run: model, data, schedule, device, what is doubtful, where the log is."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.dataset import RepeatDataset
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..arguments import listed, name_of
from ..config.datasets import metainfo_of
from ..config.parts import models_of
from ..errors import counted
from ..registry import HOOKS
from .checkpoints import best_hook
from .models import unwrapped
from .terminal import FOR_TERMINAL, near, terminal_of

ROWS = 13  # before the one that names the log
DOUBTFUL = "doubtful"  # label of findings, of which those that do not fit are in the log alone
LABEL = 10  # width of the first column
WIDTHS = (60, 160)  # least and most width of a row


@HOOKS.register_module()
class OpeningHook(Hook):
    """Hook that says what is about to run, once everything is built, and then lets the terminal show what follows."""

    priority = "LOW"  # after the hook that checks settings, before the progress bar

    def before_train(self, runner: Runner) -> None:
        self._tell(runner, [("model", model_line(runner)), ("data", train_data(runner)), ("schedule", schedule(runner))])

    def before_test(self, runner: Runner) -> None:
        images = len(runner.test_dataloader.dataset)
        self._tell(runner, [("model", model_line(runner)), ("data", f"{counted(images, 'image')} to evaluate")])

    def _tell(self, runner: Runner, lines: list[tuple[str, str]]) -> None:
        terminal = terminal_of(runner.logger)
        if terminal is None or terminal.begun:
            return
        lines.append(("device", device(runner)))
        told = list(dict.fromkeys(terminal.first))
        lines[1:1] = [line for line in told if line[0] != DOUBTFUL] or [("weights", weights(runner))]
        lines += [("option", line) for line in runner.cfg.get("changed") or ()]
        doubtful = [line for line in told if line[0] == DOUBTFUL]
        width = min(max(shutil.get_terminal_size((120, 40)).columns, WIDTHS[0]), WIDTHS[1]) - 1
        log = f"{near(runner.logger.log_file or runner.work_dir)} (all details; -v shows them here)"
        text = "\n".join([*laid_out(lines, doubtful, width), f"{'log':<{LABEL}}{log}"])
        runner.logger.info(text, extra={FOR_TERMINAL: True})

    def _begin(self, runner: Runner, *_: Any, **__: Any) -> None:
        if (terminal := terminal_of(runner.logger)) is not None:
            terminal.begun = True

    before_train_iter = before_val_iter = before_test_iter = after_run = _begin


def laid_out(lines: Sequence[tuple[str, str]], doubtful: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Yield rows of at most `width` characters, no more than `ROWS`; of what is doubtful, the log has the rest."""

    def rows(label: str, text: str, most: int) -> list[str]:
        parts = textwrap.wrap(text, width - LABEL, max_lines=most, placeholder=" ...") or [""]
        return [f"{'' if number else label:<{LABEL}}{part}" for number, part in enumerate(parts)]

    most = 2 if 2 * len(lines) + min(len(doubtful), 1) <= ROWS else 1
    said = [row for label, text in lines for row in rows(label, text, most)]
    for number, (label, text) in enumerate(doubtful):
        others = number + 1 < len(doubtful)  # which need a row
        if len(said) + 1 + others > ROWS:
            said.append(f"{label:<{LABEL}}and {len(doubtful) - number} more in the log")
            break
        said += rows(label, text, min(3, ROWS - len(said) - others))
    yield from said


def model_line(runner: Runner) -> str:
    model, settings = unwrapped(runner.model), runner.cfg.model
    settings = settings.get("module", settings)  # without test-time augmentation
    parts = [part for _, part in models_of(settings)]
    backbone: Mapping[str, Any] = next((part["backbone"] for part in parts if part.get("backbone")), {})
    head = next((part["decode_head"] for part in parts if isinstance(part.get("decode_head"), Mapping)), None)
    name = name_of(settings.get("type")) if head is None else name_of(head.get("type")).removesuffix("Head")
    arch = next((backbone[key] for key in ("arch", "depth") if isinstance(backbone.get(key), str | int)), "")
    parameters = list(model.parameters())
    count = sum(parameter.numel() for parameter in parameters)
    frozen = sum(parameter.numel() for parameter in parameters if not parameter.requires_grad)
    said = [f"{name} on {name_of(backbone.get('type'))} {arch}".rstrip(), f"{count / 1e6:.1f} M parameters"]
    said += [f"{frozen / 1e6:.1f} M of them frozen"] * bool(frozen)
    return ", ".join(said)


def weights(runner: Runner) -> str:
    cfg = runner.cfg
    if source := cfg.get("load_from"):
        place = source if "://" in source else near(source)
        return f"resumed from {place} at iteration {runner.iter:,}" if cfg.get("resume") else place
    known = [part for _, model in models_of(cfg.model) for part in listed(model.get("backbone", {}).get("init_cfg"))]
    return next((str(part["checkpoint"]) for part in known if part.get("checkpoint")), "random, as no file is named")


def train_data(runner: Runner) -> str:
    loader = runner.train_dataloader
    classes = metainfo_of(loader.dataset).get("classes") or ()
    dataset, times = loader.dataset, 1
    while isinstance(dataset, RepeatDataset):
        dataset, times = dataset.dataset, times * dataset.times
    said = [f"{counted(len(dataset), 'image')} to train" + f" {times:,} times an epoch" * (times > 1)]
    said += [f"{len(runner.val_dataloader.dataset):,} to validate"] if runner.val_loop is not None else ["no validation"]
    said += [f"{len(classes)} class{'es' * (len(classes) != 1)}"] * bool(classes)
    batch = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
    processes = get_world_size()
    return ", ".join(said) + f"; {batch} a batch" + (f" on each of {processes} processes" if processes > 1 else "")


def schedule(runner: Runner) -> str:
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    unit = "epoch" if by_epoch else "iteration"
    length = f"{counted(loop.max_epochs, unit)} of " if by_epoch else ""
    said = [length + counted(len(loop.dataloader) if by_epoch else loop.max_iters, "iteration")]
    optimizer = (runner.cfg.get("optim_wrapper") or {}).get("optimizer") or {}
    if optimizer.get("lr") is not None:
        said.append(f"{name_of(optimizer.get('type'))} at {optimizer['lr']:g}")
    if runner.val_loop is not None:
        said.append(f"validation every {counted(loop.val_interval, unit)}")
    if hook := best_hook(runner):
        said.append(f"best by {', '.join(listed(hook.save_best))}")
    return ", ".join(said)


def device(runner: Runner) -> str:
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {counted(torch.get_num_threads(), 'thread')}"
    wrapper = runner.cfg.get("optim_wrapper") or {}
    kind = f"{wrapper.get('type')} {wrapper.get('dtype')}"
    return f"{where}, {'bfloat16' if 'bfloat16' in kind.lower() else 'float16' if 'Amp' in kind else 'float32'}"

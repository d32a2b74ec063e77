"""Results of a training as files that other programs read, and as the last lines that a person sees."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import StringIO
from math import nan
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint

from ..compat.systems import typed
from ..config.datasets import datasets_of, metainfo_of
from ..config.work_dirs import JOINED, RESULTS
from ..registry import HOOKS
from .checkpoints import best_hook
from .figures import PRECISION, finite, split_by_class
from .storage import set_aside, write_whole
from .terminal import near

TABLE = "results.csv"
PICTURES = ("curves.png", "predictions.png")  # by a hook of another room
SHOWN = 20  # classes in the closing table
WINDOW = 50  # iterations over which the loss is averaged


@dataclass
class Validation:
    """What a validation measured.

    Attributes:
        epoch: finished epochs; None where training counts iterations.
        loss: mean of the iterations before.
        by_class: figures of each class, where the evaluator gives them.
    """

    iteration: int
    epoch: int | None
    loss: float | None
    metrics: dict[str, float | None]
    by_class: dict[str, dict[str, float | None]] = field(default_factory=dict)

    @property
    def at(self) -> str:
        return f"iteration {self.iteration}" if self.epoch is None else f"epoch {self.epoch}"


@dataclass
class Results:
    """Results of a training.

    Attributes:
        work_dir, config: its folder, and in it the config with all options.
        iterations: done so far.
        checkpoint: the newest; `best` the one with the best `metric`.
        tests: what `mmvit test` measured, by checkpoint, after which the options stand that change figures.
    """

    work_dir: str
    config: str
    iterations: int = 0
    checkpoint: str | None = None
    metric: str | None = None
    best: str | None = None
    validations: list[Validation] = field(default_factory=list)
    tests: dict[str, dict[str, float | None]] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Figures of the best checkpoint's validation, or else of the last."""
        return dict(found.metrics) if (found := self.best_validation or self.last) else {}

    @property
    def last(self) -> Validation | None:
        return self.validations[-1] if self.validations else None

    @property
    def best_validation(self) -> Validation | None:
        """The validation after which the best checkpoint was saved, whose name ends with its epoch or iteration."""
        unit, digits = re.fullmatch(r"(.*?)(\d*)", Path(self.best or "").stem, re.DOTALL).groups()  # type: ignore[union-attr]
        step = int(digits or -1)  # of any `filename_tmpl`, possibly with zeros before it
        epochs = [entry for entry in self.validations if entry.epoch == step]
        iterations = [entry for entry in self.validations if entry.iteration == step]
        found = epochs if unit.endswith("epoch_") else iterations if unit.endswith("iter_") else iterations or epochs
        return found[-1] if found else None

    def write(self) -> None:
        """Write `results.json` and `results.csv`, each completely or not at all."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(Path(self.work_dir, RESULTS), f"{text}\n".encode())
        if not (rows := [_row(entry) for entry in self.validations]):
            return
        table = StringIO()
        writer = csv.DictWriter(table, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(Path(self.work_dir, TABLE), table.getvalue().encode())


def read_results(work_dir: str | Path) -> Results | None:
    """Return the results of a training in its folder; None where there are none that can be read."""
    try:
        content = json.loads(Path(work_dir, RESULTS).read_text(encoding="utf-8"))
        validations = [Validation(**entry) for entry in content["validations"]]
        return Results(**{**content, "work_dir": str(work_dir), "validations": validations})  # it may be a copy, or moved
    except (OSError, ValueError, TypeError, KeyError):
        return None


def note_test(runner: Runner, name: str, metrics: Mapping[str, Any]) -> None:
    """Add what a test measured to the `results.json` of its work dir, under the checkpoint's name and the options."""
    figures, _ = split_by_class(metrics, {}, ())
    if figures and is_main_process():
        folder = str(runner.work_dir)
        results = read_results(folder) or Results(folder, str(runner.cfg.filename))
        results.tests[name] = figures
        results.write()


def closing_lines(results: Results, analyzed: bool = True) -> str:
    """Return a table of the last and the best validation, by class where they were measured, and what to do next.

    Args:
        analyzed: whether `analyze` can read the data of the validation.
    """
    lines, last, best = [], results.last, results.best_validation
    if last is not None:
        shown = [last] if best in (None, last) else [best, last]
        heads = [f"{'best: ' if entry is best else 'last: '}{entry.at}" for entry in shown]
        rows = [(name, [_figure(entry.metrics.get(name)) for entry in shown]) for name in last.metrics]
        classes = list(shown[0].by_class.items())
        figures = list(dict.fromkeys(name for _, values in classes for name in values))
        lines += _table(["", *heads], rows)
        if classes:
            each = [(name, [_figure(values.get(figure)) for figure in figures]) for name, values in classes[:SHOWN]]
            lines += ["", *_table([f"class ({shown[0].at})", *figures], each)]
            lines += [f"and {len(classes) - SHOWN} more in {TABLE}"] * (len(classes) > SHOWN)
    pictures = [name for name in PICTURES if Path(results.work_dir, name).is_file()]
    lines.append(f"results: {', '.join(near(results.work_dir, name) for name in (RESULTS, TABLE, *pictures))}")
    if best_or_last := results.best or results.checkpoint:
        file = near(best_or_last)
        words = [near(results.config), file, "--out", near(results.work_dir, "analysis.html")]
        lines.append(f"next: python -m mmvit predict {typed(file)} IMAGES")
        lines += [f"      python -m mmvit analyze {typed(*words)}"] * analyzed
    return "\n".join(lines)


@HOOKS.register_module()
class ResultsHook(Hook):
    """Hook that keeps `results.json` and `results.csv` in the work dir up to date, and ends the log with them in short."""

    priority = "LOWEST"  # after the checkpoint hook has judged, and after the progress bar has returned the terminal
    anew = False  # whether results in the work dir are of a training before

    def before_train(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        self.results = Results(str(folder), str(folder / Path(runner.cfg.filename or f"{runner.timestamp}.py").name))
        last = (runner.cfg.get(JOINED) or {}).get("loss", runner.iter)
        before = read_results(folder) if last else None
        if before is not None:  # this run resumes it, possibly from before its end
            self.results.validations = [entry for entry in before.validations if entry.iteration <= last]
        self.anew = before is None
        self.tables: dict[str, Sequence[float]] = {}
        metrics = runner.val_evaluator.metrics if runner.val_loop is not None else ()
        counting = [metric for metric in metrics if hasattr(metric, "total_area_to_metrics")]
        if len(counting) == 1:  # IoUMetric logs its figures by class, and returns their means alone
            counting[0].total_area_to_metrics = self._kept(counting[0].total_area_to_metrics)
        prefixes = getattr(runner.val_evaluator, "dataset_prefixes", None) or [""] * len(metrics)  # of MultiDatasetsEvaluator
        for metric, prefix in zip(metrics, prefixes, strict=False):
            if getattr(metric, "classwise", False) and len(metric.metrics) > 1:
                metric.compute_metrics = self._apart(metric, prefix)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Move the results of a training before away: from now on, the run to resume in this folder is this one."""
        if self.anew and is_main_process():
            set_aside(Path(runner.work_dir), (RESULTS, TABLE))
        self.anew = False

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        loss = runner.message_hub.log_scalars.get("train/loss")
        classes = list(metainfo_of(runner.val_dataloader.dataset).get("classes") or ())
        figures, by_class = split_by_class(metrics or {}, self.tables, classes)
        self.tables = {}
        done = [entry for entry in self.results.validations if entry.iteration < runner.iter]
        mean = None if loss is None else finite(loss.mean(WINDOW))
        now = Validation(runner.iter, runner.epoch if by_epoch else None, mean, figures, by_class)
        self.results.validations = [*done, now]
        self._write(runner)

    def after_run(self, runner: Runner) -> None:
        if hasattr(self, "results"):  # a training's: the config of a work dir, with which one tests, has the hook, too
            analyzed = all(view.is_measured for view in datasets_of(runner.cfg, ("val",)))
            runner.logger.info(f"done\n{closing_lines(self.results, analyzed)}")

    def _kept(self, compute: Any) -> Any:
        def keep(*arguments: Any, **options: Any) -> Any:
            found = compute(*arguments, **options)
            self.tables |= {name: values * 100 for name, values in found.items() if getattr(values, "ndim", 0) == 1}
            return found

        return keep

    def _apart(self, metric: Any, dataset: str) -> Any:
        """Return CocoMetric's computation, kind by kind: figures of a class have one name for boxes and masks."""
        compute, kinds = metric.compute_metrics, metric.metrics

        def one_by_one(results: list[Any]) -> dict[str, float]:
            figures: dict[str, float] = {}
            for kind in kinds:
                metric.metrics = [kind]
                try:
                    found = compute(results)
                finally:
                    metric.metrics = kinds
                named = [found.get(f"{name}{PRECISION}", nan) for name in metric.dataset_meta["classes"]]
                self.tables |= {f"{dataset} {kind} AP".lstrip(): named} if found else {}
                figures |= found
            return figures

        return one_by_one

    def _write(self, runner: Runner) -> None:
        self.results.iterations = runner.iter
        if (saving := best_hook(runner)) is not None:
            metric = saving.key_indicators[0]
            several = len(saving.key_indicators) > 1
            best = saving.best_ckpt_path_dict.get(metric) if several else saving.best_ckpt_path
            self.results.metric, self.results.best = metric, None if best is None else str(best)
        self.before_save_checkpoint(runner, {})
        if is_main_process():
            noted = read_results(runner.work_dir)
            self.results.tests = noted.tests if noted else {}  # by `mmvit test`, which may run at the same time
            self.results.checkpoint = find_latest_checkpoint(runner.work_dir)
            self.results.write()

    after_train = _write


def _row(entry: Validation) -> dict[str, Any]:
    classes = {f"{name}/{kind}": value for kind, values in entry.by_class.items() for name, value in values.items()}
    return dict(iteration=entry.iteration, epoch=entry.epoch, loss=entry.loss, **entry.metrics) | classes


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    first = max(len(heads[0]), *(len(name) for name, _ in rows)) if rows else len(heads[0])
    widths = [max(9, len(head)) for head in heads[1:]]
    return [
        "  ".join([name.ljust(first), *(value.rjust(width) for value, width in zip(values, widths, strict=True))]).rstrip()
        for name, values in [(heads[0], heads[1:]), *rows]
    ]

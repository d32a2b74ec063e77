"""`mmvit analyze CONFIG [CHECKPOINT]`: a page on where a trained model fails."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from .cfg_options import add_data_options, config_of
from .options import demo_variant, exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit analyze") -> int:
    """Analyze with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Shows where a trained model fails: one page of HTML.")
    add_data_options(parser, "val", ("val", "test"))
    parser.add_argument("checkpoint", nargs="?", help="file of a training (default: the best of the config's)")
    parser.add_argument("--out", type=Path, default=Path("analysis.html"), metavar="FILE", help="page (default: %(default)s)")
    parser.add_argument("--score", type=float, default=0.3, help="from which detections count as there (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
    return exit_status(_analyze, parser.parse_args(arguments))


def _analyze(asked: Namespace) -> None:
    from ..config.work_dirs import best_of  # not before it is needed: --help does without torch
    from ..look.analysis import analyze
    from ..look.charts import number

    cfg = config_of(asked)
    checkpoint = asked.checkpoint or best_of(asked.config, demo_variant(asked.demo))
    metrics = analyze(cfg, checkpoint, asked.out, asked.split, asked.score, asked.device, asked.images)
    rows: dict[str, list[str]] = {}
    for name, value in metrics.items():
        dataset, _, figure = name.rpartition("/")
        kind = "mask " if f"box {figure}" in metrics else ""
        rows.setdefault(dataset, []).append(f"{kind}{figure} {number(value)}")
    first, *sets = (f"{f'{name}: ' if name else ''}{', '.join(figures)}" for name, figures in rows.items())
    print("\n".join([*sets, f"{first}; see {asked.out}"]))

"""Options of `tools/benchmark.py`."""

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmvit.commands.options import at_least_one, exit_status
from mmvit.errors import InputError
from mmvit.zoo import families, find, list_archs

from .records import require_folder


def size_of(word: str) -> tuple[int, int]:
    """Return height and width of `800x1280`."""
    match = re.fullmatch(r"(\d+)x(\d+)", word)
    if match is None:
        raise ArgumentTypeError(f"{word!r}: expected HEIGHTxWIDTH in pixels, such as 800x1280")
    return int(match[1]), int(match[2])


def options_of(word: str) -> str:
    """Return `window_size=14,max_keys=4000` as a row of the table names it."""
    parts = word.split(",")
    if not all(re.fullmatch(r"[a-z_]+=[1-9]\d*", part) for part in parts):
        raise ArgumentTypeError(f"{word!r}: expected NAME=NUMBER,... of options that the backbone takes, such as max_keys=4000")
    return ", ".join(parts)


def benchmark(arguments: Sequence[str], prog: str = "tools/benchmark.py") -> int:
    """Measure with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Times backbones and alternatives to them, and measures their memory.")
    parser.add_argument(
        "archs",
        nargs="+",
        metavar="ARCH",
        help="names of mmvit.list_archs(), such as van_b2, or config files (.py), whose backbones are taken",
    )
    parser.add_argument(
        "--size", nargs="+", type=size_of, default=[(800, 1280)], metavar="HxW", help="pixels (default: 800x1280)"
    )
    parser.add_argument("--batch", type=at_least_one, default=1, help="images at a time")
    parser.add_argument("--train", action="store_true", help="a training step, forward and backward, instead of inference")
    parser.add_argument(
        "--against",
        default="written-out",
        metavar="PEER,...",
        help="some of written-out (the textbook form, as the authors' code computes), timm, mmdet, mmseg, mmpretrain; "
        "'installed' for all that are installed, 'none' for none",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="bfloat16 is autocast")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--repeats", type=at_least_one, default=5, help="how often each candidate is timed, in turns")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of a step, in a process of its own each")
    parser.add_argument("--compile", action="store_true", help="also mmvit under torch.compile")
    parser.add_argument("--with-cp", action="store_true", help="also mmvit with activation checkpointing; needs --train")
    parser.add_argument(
        "--with-options",
        nargs="+",
        type=options_of,
        default=[],
        metavar="NAME=N,...",
        help="also mmvit with these options, such as window_size=14 or window_size=14,max_keys=4000",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="figures, machine, commit and command; benchmarks/results holds such files"
    )
    parser.add_argument(
        "--product", type=at_least_one, help="side of the matrices whose product stands for the machine's limit"
    )
    whole = parser.add_argument_group("the whole training loop and evaluation, ours beside mmdet's or mmseg's own scripts")
    whole.add_argument(
        "--whole", action="store_true", help="ARCH is a config such as retinanet_pvt_small_coco; --against stock"
    )
    whole.add_argument("--block", type=at_least_one, default=3, help="iterations of a turn (default: %(default)s)")
    whole.add_argument("--workers", type=int, default=2, help="data workers (default: %(default)s)")
    whole.add_argument("--images", type=at_least_one, default=2000, help="of the training set; COCO has 117266")
    whole.add_argument("--options", nargs="+", default=[], metavar="WORD", help="of our script, such as +amp=bfloat16 +compile")
    asked = parser.parse_args(arguments)
    if asked.whole:
        from .whole import run_whole  # not before it is needed: --help does without

        asked.options = [f"--{word[1:]}" if word.startswith("+") else word for word in asked.options]
        return exit_status(require_folder, asked.json) or exit_status(run_whole, asked)
    return exit_status(run_benchmark, asked)


def run_benchmark(asked: Namespace) -> None:
    """Measure and print.

    Raises:
        InputError: an arch, a peer, a device or a folder that does not exist.
    """
    require_folder(asked.json)
    backbones = [backbone_of(name) for name in asked.archs]
    if asked.with_cp and not asked.train:
        raise InputError("--with-cp: checkpointing happens in training only; add --train")
    from mmvit.pyramid import SMALLEST

    from . import candidates, measure, memory, peers, records, report  # imported late: --help does not need them

    names = peers.installed() if asked.against == "installed" else [name for name in asked.against.split(",") if name != "none"]
    peers.check_peers(names)
    measure.check_device(asked.device)
    variants = {candidates.COMPILED: asked.compile, candidates.WITH_CP: asked.with_cp}
    measured = [*names, *(variant for variant, wanted in variants.items() if wanted)]
    measured += [f"{candidates.OPTIONS}{words}" for words in asked.with_options]
    settings = [
        candidates.Setting(name, height, width, asked.batch, asked.train, asked.dtype, asked.device, options)
        for name, options in backbones
        for height, width in asked.size
    ]
    for setting in settings:
        if min(setting.height, setting.width) < SMALLEST:
            raise InputError(f"--size {setting.height}x{setting.width}: images have at least {SMALLEST} pixels a side")
    if asked.device == "cpu":
        memory.limit_to_available()
    print(records.machine(asked.device), report.heading(settings[0], asked.repeats), sep="\n\n", end="\n\n")
    costs = [(setting, measure.cost_of(setting)) for setting in settings]
    print("\n".join(report.costs_table(costs)), end="\n\n", flush=True)
    rows: list[measure.Row] = []
    for setting in settings:
        print(f"{setting.name} at {setting.size} ...", file=sys.stderr, flush=True)
        rows += measure.measure(setting, measured, repeats=asked.repeats, peaks=asked.memory, product=asked.product)
    print("\n".join(report.rows_table(rows)), end="\n\n")
    print("\n".join(report.means_table(rows)))
    if growth := report.growth_table(rows):
        print("", *growth, sep="\n")
    if asked.json:
        records.write(report.figures(rows), asked.json, asked.device)


def backbone_of(name: str) -> tuple[str, dict[str, Any]]:
    """Return the name in the zoo and the options of a backbone, given by that name or by a config.

    Raises:
        InputError: neither; or the config's backbone is not one of ours, or has sizes of its own.
    """
    if name in list_archs() or not name.endswith(".py"):
        find(name)
        return name, {}
    from mmvit.config.files import config_file, load_config

    backbone = dict(load_config(config_file(name)).get("model", {}).get("backbone") or {})
    kinds = {f"mmvit.{kind.__name__}": kind for kind in families()}
    kind, arch = kinds.get(str(backbone.pop("type", None))), backbone.pop("arch", None)
    if kind is None or not isinstance(arch, str):
        raise InputError(
            f"{name}: model.backbone is not one of mmvit's by name; expected type='mmvit.VAN', arch='b2' or the like"
        )
    backbone.pop("init_cfg", None)
    return f"{kind.record.name}_{arch}", backbone

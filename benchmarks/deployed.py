"""Times of eager, compiled and exported models on a CPU: python -m benchmarks.deployed pvt_small retinanet_pvt_small_coco.

The name of an arch stands for a backbone, the name of a config for a whole detector or segmenter, both with random weights. A
checkpoint stands for a trained one. The time hardly depends on the weights, except that of a detector's NMS; but the comparison
after the export may refuse a detector with random weights, whose scores lie too close together.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from mmengine.registry import MODELS, DefaultScope

from mmvit.commands.options import at_least_one, exit_status
from mmvit.config.files import config_file, load_config
from mmvit.errors import InputError
from mmvit.export.feeds import feed_of
from mmvit.export.formats import Wanted, export
from mmvit.export.models import Exportable, from_arch, from_config
from mmvit.export.verify import pictures, trained
from mmvit.predict.sessions import open_session
from mmvit.zoo import list_archs

from .cli import size_of
from .measure import geometric_mean, in_turns
from .records import Figure, machine, require_folder, write

EAGER = "eager"
WARM_UP = 1  # turns that are not counted
Step = Callable[[], object]


def main(arguments: Sequence[str]) -> int:
    """Measure with the options of the command line; return the exit status."""
    parser = ArgumentParser(
        "python -m benchmarks.deployed", description="Times exported models beside eager and compiled ones."
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names of archs or of configs, or checkpoints")
    parser.add_argument("--size", nargs="+", type=size_of, default=[(512, 512), (800, 1280)], metavar="HxW", help="pixels")
    parser.add_argument("--repeats", type=at_least_one, default=5, help="how often each candidate is timed, in turns")
    parser.add_argument("--dynamic", action="store_true", help="files for any size instead of files for each size")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="figures, machine, commit and command")
    return exit_status(run, parser.parse_args(arguments))


def run(asked: Namespace) -> None:
    require_folder(asked.json)
    print(machine())
    print(f"median of {asked.repeats} repeats in turns, batch 1, files for {'any size' if asked.dynamic else 'one size'}\n")
    print("| model | pixels | candidate | time (ms) | eager / time |\n| --- | --- | --- | --- | --- |")
    ratios: dict[tuple[str, tuple[int, int]], list[float]] = {}
    figures: list[Figure] = []
    for name in asked.models:
        title = Path(name).resolve().parent.name if Path(name).is_file() else name
        for size in asked.size:
            with TemporaryDirectory() as folder, torch.inference_mode():
                steps = steps_of(name, size, Path(folder), asked)
                times = {
                    candidate: median(seconds) for candidate, seconds in in_turns(steps, asked.repeats, "cpu", WARM_UP).items()
                }
            for candidate, seconds in times.items():
                ratio, pixels = times[EAGER] / seconds, f"{size[0]} x {size[1]}"
                ratios.setdefault((candidate, size), []).append(ratio)
                print(f"| {title} | {pixels} | {candidate} | {1e3 * seconds:.1f} | {ratio:.2f} |", flush=True)
                gain = round(ratio, 3) if candidate != EAGER else None
                figures.append(Figure("export", title, pixels, candidate, ms=round(1e3 * seconds, 1), ratio=gain))
    print("\n| candidate | pixels | models | geometric mean of eager / time | least |\n| --- | --- | --- | --- | --- |")
    for (candidate, size), values in ratios.items():
        words = f"| {candidate} | {size[0]} x {size[1]} | {len(values)} |"
        print(f"{words} {geometric_mean(values):.2f} | {min(values):.2f} |")
    if asked.json:
        write(figures, asked.json)


def steps_of(name: str, size: tuple[int, int], folder: Path, asked: Namespace) -> dict[str, Step]:
    """Return a step for each candidate, from the same image to maps, boxes or a label map."""
    with torch.inference_mode(False):
        exportable = exportable_of(name, folder)
        image = pictures([size])[0]
        feed = feed_of(exportable.metadata, image.numpy())
        fixed = None if asked.dynamic else size
        steps = {EAGER: eager(exportable, image, feed)}
        if exportable.kind == "backbone" and not asked.no_compile:
            compiled, pixels = torch.compile(exportable.model), torch.from_numpy(feed["pixels"])
            steps["compiled"] = lambda: compiled(pixels)
        for candidate, to, precision in (
            ("onnxruntime", "onnx", "float32"),
            ("OpenVINO", "openvino", "float32"),
            ("OpenVINO, half", "openvino", "float16"),
        ):
            file = folder / f"{precision}{dict(onnx='.onnx', openvino='.xml')[to]}"
            try:
                export(exportable, file, Wanted(to, fixed, precision))
            except InputError as error:  # random weights may be too sensitive for less precision
                print(f"{name} at {size[0]} x {size[1]}, {candidate}: left out, {error}", flush=True)
                continue
            steps[candidate] = partial(open_session(file, "cpu").run, feed)
    return steps


def eager(exportable: Exportable, image: torch.Tensor, feed: dict[str, np.ndarray]) -> Step:
    if exportable.kind == "backbone":
        pixels = torch.from_numpy(feed["pixels"])
        return lambda: exportable.model(pixels)
    score = exportable.metadata["score_threshold"]
    return lambda: trained(exportable, image, score)


def exportable_of(name: str, folder: Path) -> Exportable:
    if name in list_archs():
        return from_arch(name, None)
    return from_config(None, name) if Path(name).is_file() else from_random(name, folder)


def from_random(name: str, folder: Path) -> Exportable:
    """Return the program of a config's model with random weights."""
    cfg = load_config(config_file(name))
    cfg.model.backbone.pop("init_cfg", None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    checkpoint = folder / "random.pth"
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return from_config(name, checkpoint)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

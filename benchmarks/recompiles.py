"""`python -m benchmarks.recompiles ARCH...`: how often `--compile` compiles a backbone for images of COCO's sizes.

The images are 100 with the longer side of most of COCO's, 640 pixels, and the aspect ratios of cameras and cut pictures. They
are resized to fit 1333 x 800 and padded to multiples of 32, as in the configs. Graphs and guards come from torch's tracer,
whatever the backend; the graphs run uncompiled. A size that was seen before cannot compile again: this is checked by a second
turn over all sizes instead of by all 100 images.
"""

import argparse
from collections.abc import Sequence
from math import ceil
from random import Random
from time import perf_counter

import torch
from torch import _dynamo as dynamo

import mmvit
from mmvit.engine.computing import compile_parts

LONGER = 640  # pixels
RATIOS = ((4, 3), (3, 2), (1, 1), (16, 9), (5, 4), (2, 1), (6, 5), (7, 5), (8, 5), (9, 4), (3, 1))  # earlier ones more often
IMAGES = 100


def padded(width: float, height: float) -> tuple[int, int]:
    """Return height and width of an image in a batch of one."""
    scale = min(1333 / max(width, height), 800 / min(width, height))
    return ceil(int(height * scale + 0.5) / 32) * 32, ceil(int(width * scale + 0.5) / 32) * 32


def sizes() -> list[tuple[int, int]]:
    """Return the padded sizes of the images, in the order in which they come."""
    random = Random(0)
    kinds = [(LONGER, LONGER * short / long) for long, short in RATIOS]
    kinds = [size for pair in kinds for size in (pair, pair[::-1])]
    weights = [1 / (1 + at) for at in range(len(kinds))]
    return [padded(*size) for size in random.choices(kinds, weights, k=IMAGES)]


def count(arch: str, train: bool) -> tuple[list[tuple[int, int]], int, float]:
    """Return the sizes that compiled a graph, the number of graphs that the second turn compiled, and the seconds of both."""
    dynamo.reset()
    counters = dynamo.utils.counters["stats"]
    holder = torch.nn.Module()
    holder.backbone = mmvit.create(arch).train(train)
    compile_parts(holder, backend="eager")

    def graphs_of(height: int, width: int) -> int:
        before = counters["unique_graphs"]
        with torch.set_grad_enabled(train):
            maps = holder.backbone(torch.zeros(1, 3, height, width))
        if train:
            sum(each.sum() for each in maps).backward()
        return counters["unique_graphs"] - before

    began = perf_counter()
    distinct = list(dict.fromkeys(sizes()))
    compiled = [size for size in distinct for _ in range(graphs_of(*size))]
    return compiled, sum(graphs_of(*size) for size in distinct), perf_counter() - began


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recompiles", description=__doc__)
    parser.add_argument("archs", nargs="+", metavar="ARCH")
    parser.add_argument("--train", action="store_true", help="forward and backward pass in training mode")
    asked = parser.parse_args(words)
    print(f"{IMAGES} images in {len(set(sizes()))} padded sizes, torch {torch.__version__}", flush=True)
    for arch in asked.archs:
        compiled, again, seconds = count(arch, asked.train)
        first = ", ".join(f"{height} x {width}" for height, width in compiled)
        print(f"{arch}: {len(compiled)} graphs (at {first}), {again} in the second turn, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()

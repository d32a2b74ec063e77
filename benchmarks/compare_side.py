"""One side of `benchmarks.compare`: a step of a backbone for each line of the standard input, with the mmvit of PYTHONPATH.

It uses nothing of mmvit but `create`, so that old commits run, too.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import torch

import mmvit


def main(arch: str, height: int, width: int, train: bool, dtype: str) -> None:
    torch.manual_seed(0)
    network = mmvit.create(arch).train(train)
    images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))

    def step() -> None:
        context = torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else nullcontext()
        network.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(train), context:
            maps = network(images)
        if train:
            torch.stack([level.float().square().mean() for level in maps]).sum().backward()

    with torch.no_grad():
        maps = [level.double().abs().mean().item() for level in network.eval()(images)]
    network.train(train)
    print(json.dumps(dict(package=str(Path(mmvit.__file__).resolve().parent), maps=maps)), flush=True)
    for _ in sys.stdin:
        step()
        print("{}", flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))

"""Trains a detector or segmenter: python tools/train.py configs/retinanet_pvt_small_coco.py [--demo]."""

import os
from argparse import ArgumentParser

if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:  # before torch: threads that wait must not take the other processes' cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mmvit  # noqa: F401  (its compat must be in place before mmdet is imported)
from mmvit.engine.cli import add_common, options_from, run
from mmvit.engine.configuration import TrainOptions
from mmvit.engine.launch import train


def parse(words: list[str] | None = None) -> TrainOptions:
    parser = ArgumentParser(description=__doc__)
    add_common(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="go on from PATH, or from the newest checkpoint of the work dir",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision on a GPU")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate from auto_scale_lr.base_batch_size to the batch at hand",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard logs beside the others")
    return options_from(TrainOptions, parser.parse_args(words))


if __name__ == "__main__":
    run(train, parse())

"""`mmvit get_flops CONFIG`: parameters and multiply-adds of a config's backbone and model."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from .options import at_least_one, exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit get_flops") -> int:
    """Count with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Parameters and multiply-adds of a config's backbone and of its whole model.")
    parser.add_argument("config", help="a file, or the name of one of mmvit's configs, such as retinanet_pvt_small_coco")
    parser.add_argument(
        "--shape", nargs=2, type=at_least_one, default=(800, 1280), metavar=("H", "W"), help="pixels of an image"
    )
    return exit_status(print_costs, parser.parse_args(arguments))


def print_costs(asked: Namespace) -> None:
    from ..config.costs import costs_of_config  # torch, not before it is needed: --help does without

    height, width = asked.shape
    for part, cost in costs_of_config(asked.config, height, width).items():
        adds = f"{cost.multiply_adds / 1e9:8.1f} G multiply-adds at {height} x {width}"
        print(f"{part:10}  {cost.parameters / 1e6:8.1f} M parameters  {adds}")

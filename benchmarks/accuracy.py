"""Accuracy of exported files beside their checkpoint's, on the demo: python -m benchmarks.accuracy CONFIG CHECKPOINT FILE ...

Boxes are counted by pycocotools (AP and AP50 on COCO's scale), label maps as the mean intersection over union of all classes.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import mmvit
from mmvit.commands.options import exit_status
from mmvit.config.files import config_file, load_config
from mmvit.demo.dataset import build
from mmvit.demo.recipe import ROOT, apply
from mmvit.measure.accuracy import validation


def main(arguments: Sequence[str]) -> int:
    """Measure with the options of the command line; return the exit status."""
    parser = ArgumentParser("python -m benchmarks.accuracy", description="Accuracy of exported files on the demo dataset.")
    parser.add_argument("config", help="name or file of the config that was trained with --demo")
    parser.add_argument("checkpoint", help="of that training")
    parser.add_argument("files", nargs="*", help="what `mmvit export` wrote of it")
    return exit_status(run, parser.parse_args(arguments))


def run(asked: Namespace) -> None:
    build(ROOT)
    cfg = load_config(config_file(asked.config))
    apply(cfg, ROOT)
    wanted, data = None, None
    for file in (asked.checkpoint, *asked.files):
        predictor = mmvit.Predictor(cfg if file == asked.checkpoint else None, file, device="cpu", score=0.0)
        data = data or validation(cfg)  # the first predictor has imported the toolkit that knows it
        found = data.figures(predictor(data.paths))
        wanted = wanted or found
        words = ", ".join(f"{name} {value:.4f} ({value - wanted[name]:+.4f})" for name, value in found.items())
        print(f"{file}: {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

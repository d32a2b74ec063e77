"""`tools/long_checks.py`: checks that are too long for the suite, against the configs, readers and tests of the toolkits.

- `stock`: runs the checks of options, classes and settings on every config of mmdet and mmsegmentation; each fault is a false
  alarm.
- `swapped`: builds models of theirs with a backbone of ours, trains each a step and predicts (see `swapped`).
- `random`: reads random annotation files, valid and broken, with mmdet and with the checks, which must agree.
- `suites`: runs the toolkits' own tests from a checkout, with the operators that mmvit supplies.
"""

import json
import random
import subprocess
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.utils import get_installed_path, import_modules_from_strings

from mmvit.checks.best import check_best
from mmvit.checks.classes import check_classes
from mmvit.checks.evaluators import check_metrics
from mmvit.checks.losses import check_losses
from mmvit.checks.options import check_options
from mmvit.checks.pipelines import check_sizes
from mmvit.checks.plan import Plan
from mmvit.checks.settings import check_settings
from mmvit.checks.survey import Reading, survey

from .swapped import swapped

SCOPES = ("mmdet", "mmseg")
PARTS = ("registry", "datasets", "models", "evaluation", "engine", "visualization")
BROKEN = (  # stock configs of which a finding is true: most cannot run
    "qdtrack_faster-rcnn_r50_fpn_4e_base.py",  # a base outside of _base_
    "fcos_swinb_fpn_8x4_sample1e-3_mstrain_v3det_2x.py",  # FPN.force_grad_on_level
    "faster-rcnn_r50_fpn_1x_voc0712-cocofmt.py",  # CocoMetric.eval_mode, left over from VOC's
    *(f"upernet_r18_4xb4-{run}-512x512.py" for run in ("20k_voc12aug", "40k_voc12aug", "80k_ade20k", "160k_ade20k")),
    "bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024.py",  # data_preprocessor.size, which these five models lose
    "deeplabv3plus_r50-d8_4xb2-300k_mapillay_v1_65-1280x1280.py",  # crops of 512 x 1024, padded to 1280 x 1280
    *(f"solov2-light_{name}_fpn_ms-3x_coco.py" for name in ("r18", "r34", "r50", "r50-dcn")),  # train_cfg.by_epoch beside type
)
CHECKS = (check_options, check_classes, check_losses, check_sizes, check_metrics, check_best, check_settings)
NAMES = ("screw", "nut")
OPERATORS = """
bbox carafe corner_pool deform_conv deform_roi_pool focal_loss masked_conv2d merge_cells modulated_deform_conv
ms_deformable_attn nms psa_mask roi_align roi_pool saconv syncbn
""".split()  # noqa: SIM905  (those that mmvit supplies)
SUITES = {
    "mmdet": ("tests/test_models", "tests/test_structures"),
    "mmseg": ("tests/test_models",),
    "mmcv": tuple(f"tests/test_ops/test_{name}.py" for name in OPERATORS),
}
START = "import sys, mmvit, pytest; sys.exit(pytest.main(sys.argv[1:]))"  # the operators before mmcv asks for them


def main(arguments: Sequence[str]) -> int:
    """Run a check; return 1 if it found something, else 0."""
    parser = ArgumentParser("tools/long_checks.py", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    commands = parser.add_subparsers(dest="what", required=True)
    stock = commands.add_parser("stock", help="all configs that the toolkits ship")
    stock.add_argument("--every", type=int, default=1, help="take each N-th config only")
    built = commands.add_parser("swapped", help="a model of each of their folders of configs, with a backbone of ours")
    built.add_argument("--every", type=int, default=1, help="take each N-th model only")
    drawn = commands.add_parser("random", help="random annotation files")
    drawn.add_argument("--files", type=int, default=1000)
    drawn.add_argument("--seed", type=int, default=0)
    suites = commands.add_parser("suites", help="the toolkits' own tests")
    suites.add_argument("checkouts", nargs="+", metavar="NAME=FOLDER", help="such as mmdet=/src/mmdetection")
    suites.add_argument("--select", default="", metavar="WORDS", help="as pytest's -k")
    asked = parser.parse_args(arguments)
    if asked.what == "suites":
        pairs = [checkout.partition("=") for checkout in asked.checkouts]
        return max(run_suite(name, folder, asked.select) for name, _, folder in pairs)
    if asked.what == "random":
        checked = disagreements(asked.files, asked.seed)
    else:
        checked = stock_faults(asked.every) if asked.what == "stock" else swapped(stock_files(), asked.every)
    found = 0
    for fault in checked:
        print(fault, flush=True)
        found += 1
    print(f"{found} found")
    return int(found > 0)


def stock_files() -> Iterator[tuple[str, Path]]:
    """Yield scope and path of the toolkits' configs."""
    for scope in SCOPES:
        import_modules_from_strings([f"{scope}.{part}" for part in PARTS])
        yield from ((scope, file) for file in sorted(Path(get_installed_path(scope), ".mim", "configs").rglob("*.py")))


def stock_faults(every: int) -> Iterator[str]:
    """Yield the faults that the checks find in the toolkits' configs."""
    warnings.simplefilter("ignore")
    seen = 0
    for scope, file in list(stock_files())[::every]:
        try:
            cfg = Config.fromfile(file)
        except Exception:  # a base that needs another, or packages that are not here
            continue
        if "_base_" in file.parts or not isinstance(cfg.get("model"), dict) or file.name in BROKEN:
            continue
        seen += 1
        with DefaultScope.overwrite_default_scope(scope):
            for check in CHECKS:
                found = check(Plan(cfg, ("train", "val", "test")))
                for finding in (one for one in found if "AmpOptimWrapper" not in one.text):  # true where no GPU is
                    yield f"{file.parent.name}/{file.name}: {finding.verdict}: {finding.text}"
    print(f"{seen} configs", flush=True)


def disagreements(count: int, seed: int) -> Iterator[str]:
    """Yield the annotation files on which mmdet and the checks disagree: whether they can be read, and what remains."""
    from mmdet.datasets import CocoDataset

    for number in range(seed, seed + count):
        content = drawn_annotations(random.Random(number))
        with TemporaryDirectory() as folder:
            file = Path(folder, "ann.json")
            file.write_text(json.dumps(content), encoding="utf-8")
            ours = outcome(lambda file=file: survey(file, "file", Reading(NAMES, True, True, True)).targets)
            with redirect_stdout(StringIO()):  # pycocotools remarks on each file
                theirs = outcome(lambda file=file: targets_of(CocoDataset, file))
        if ours != theirs and (isinstance(ours, int) or isinstance(theirs, int)):
            yield f"seed {number}: {theirs} targets by mmdet, {ours} by the checks"


def outcome(count: Callable[[], int]) -> int | str:
    """Return the number of targets, or the reason why there is none."""
    try:
        return count()
    except Exception as error:
        return f"none ({type(error).__name__}: {error})"


def targets_of(kind: Any, file: Path) -> int:
    """Return the number of boxes with masks that remain after mmdet's pipeline."""
    from mmdet.datasets.transforms import LoadAnnotations

    options = dict(metainfo=dict(classes=NAMES), data_prefix=dict(img=""), pipeline=[], serialize_data=False)
    dataset = kind(ann_file=str(file), **options)
    load = LoadAnnotations(with_bbox=True, with_mask=True)
    total = 0
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        results = load({**info, "ori_shape": (info["height"], info["width"])})
        total += int((~results["gt_ignore_flags"]).sum())
    return total


def drawn_annotations(draw: random.Random) -> dict[str, Any]:
    """Return an annotation file as converters write them: mostly valid, sometimes with one of many faults."""
    width, height = draw.choice([(64, 48), (31, 97), (640, 480)])
    count = draw.randint(1, 4)
    images = [dict(id=index, file_name=f"{index}.jpg", width=width, height=height) for index in range(count)]
    annotations = []
    for index in range(draw.randint(0, 8)):
        x, y = draw.uniform(-5, width), draw.uniform(-5, height)
        w, h = draw.choice([draw.uniform(0, width), 0.5, 0]), draw.uniform(0, height)
        entry: dict[str, Any] = dict(
            id=index,
            image_id=draw.randrange(count),
            category_id=draw.choice([1, 1, 2, 2, 3, 9]),
            bbox=[x, y, w, h],
            area=draw.choice([w * h, w * h, w * h / 2, 0]),
            iscrowd=draw.choice([0, 0, 0, 1]),
            segmentation=draw.choice(
                [
                    [[x, y, x + w, y, x + w, y + h]],
                    [[x, y, x + w, y, x + w, y + h], [1, 2, 3, 4]],
                    [[1, 2, 3, 4]],
                    dict(size=[height, width], counts=[0, width * height]),
                    dict(size=[height, width], counts=compressed(height, width)),
                    dict(size=[height, width]),
                ]
            ),
        )
        for name in draw.sample(["iscrowd", "ignore", "extra"], draw.choice([0, 0, 1])):
            entry.pop(name, None) if name == "iscrowd" else entry.update({name: draw.choice([0, 1])})
        annotations.append(entry)
    if draw.random() < 0.2:  # ids as some converters write them
        for entry in [*images, *annotations]:
            for name in ("id", "image_id") if draw.random() < 0.9 else ("id",):
                if name in entry:
                    entry[name] = str(entry[name])
    categories: list[dict[str, Any]] = [dict(id=1, name="screw"), dict(id=2, name="nut"), dict(id=3, name="other")]
    if draw.random() < 0.1:
        for entry in draw.choice([annotations, categories]):
            name = "category_id" if "category_id" in entry else "id"
            entry[name] = draw.choice([str, float])(entry[name])
    draw.shuffle(categories)
    return dict(images=images, annotations=annotations, categories=categories)


def compressed(height: int, width: int) -> str:
    """Return the counts of a mask of the left half in COCO's compressed form."""
    import numpy as np
    from pycocotools.mask import encode

    mask = np.zeros((height, width), np.uint8, order="F")
    mask[:, : width // 2] = 1
    return encode(mask)["counts"].decode()


def run_suite(name: str, folder: str, select: str) -> int:
    """Run a toolkit's tests in its checkout; return 1 if some fail that are not known to want what is not here."""
    command = [sys.executable, "-c", START, "-q", "-p", "no:cacheprovider", *SUITES[name]]
    done = subprocess.run([*command, *(["-k", select] if select else [])], cwd=folder, check=False)
    return int(done.returncode not in (0, 5))

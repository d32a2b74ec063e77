"""`mmvit test --no-labels`: the files of a submission, from images alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained import SIZES, Trained

from mmvit.__main__ import main

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("options", [[], ["--tta"]], ids=["plain", "tta"])
def test_segmentation_without_label_maps(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture) -> None:
    trained = Trained("fpn", tmp_path)
    shutil.rmtree(tmp_path / "data/ade/ADEChallengeData2016/annotations")
    words = ["test", str(trained.config), str(trained.checkpoint), "--work-dir", str(tmp_path / "work"), *options]
    assert main(words) == 2
    assert "--no-labels" in capsys.readouterr().err
    assert main([*words, "--no-labels"]) == 2
    assert "--out" in capsys.readouterr().err
    out = tmp_path / "maps"
    assert main([*words, "--no-labels", "--out", str(out)]) == 0
    for index, result in enumerate(trained.predictor(tta=bool(options))(trained.images)):
        written = np.asarray(Image.open(out / f"{index}.png"))
        assert written.shape == SIZES[index]
        assert (written == result.labels + 1).mean() > 0.999  # as ADE20K numbers them: 0 is no class


@pytest.mark.parametrize("head", ["retinanet", "mask_rcnn"])
def test_detection_without_annotations(tmp_path: Path, head: str) -> None:
    """As with COCO's image_info_test-dev2017.json, which lists images and categories only."""
    trained = Trained(head, tmp_path)
    file = tmp_path / "data/coco/annotations/instances_val2017.json"
    content = json.loads(file.read_text())
    info = file.with_name("image_info_test.json")
    info.write_text(json.dumps(dict(images=content["images"], categories=content["categories"])))
    out = tmp_path / "submission"
    words = ["test", str(trained.config), str(trained.checkpoint), "--work-dir", str(tmp_path / "work"), "--no-labels"]
    options = [f"test_dataloader.dataset.ann_file=annotations/{info.name}", f"test_evaluator.ann_file={info}"]
    assert main([*words, "--out", str(out), "--cfg-options", *options]) == 0
    written = json.loads((tmp_path / "submission.bbox.json").read_text())
    for index, result in enumerate(trained.predictor()(trained.images)):
        scores = sorted((entry["score"] for entry in written if entry["image_id"] == index), reverse=True)
        np.testing.assert_allclose(scores, result.scores, atol=1e-5)
    assert {entry["category_id"] for entry in written} <= {category["id"] for category in content["categories"]}
    if head == "mask_rcnn":
        masks = json.loads((tmp_path / "submission.segm.json").read_text())
        assert len(masks) == len(written)
        assert {tuple(entry["segmentation"]["size"]) for entry in masks} == set(SIZES)

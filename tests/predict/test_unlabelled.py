"""`mmvit test --no-labels`: the files of a submission, from images alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from trained import SIZES, Trained

from mmvit.__main__ import main
from mmvit.config.unlabelled import require_names, with_label_maps, without_labels
from mmvit.errors import InputError

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


@pytest.mark.parametrize("change", [with_label_maps, without_labels])
def test_mmsegs_metrics_do_not_remove_a_users_folder(change: Callable[[Config, Path], None], tmp_path: Path) -> None:
    """CityscapesMetric removes its folder at its end, unless it keeps its results; others take no such option."""
    dataset = dict(type="CityscapesDataset", data_root="data", data_prefix=dict(img_path="images"), pipeline=[])
    cfg = Config(dict(default_scope="mmseg", test_dataloader=dict(dataset=dataset)))
    cfg.test_evaluator = [dict(type="CityscapesMetric", output_dir="labels"), dict(type="IoUMetric")]
    change(cfg, tmp_path)
    first, second = cfg.test_evaluator
    assert (first.output_dir, first.keep_results) == (str(tmp_path), True)
    assert "keep_results" not in second


class Paths(list):
    def get_data_info(self, index: int) -> dict[str, str]:
        return dict(img_path=self[index])


@pytest.mark.parametrize(
    ("paths", "part", "clash"),
    [
        (["s1/0.jpg", "s2/0.jpg"], "name", True),
        (["s1/0.jpg", "s2/0.png"], "stem", True),
        (["s1/0.jpg", "s1/0.png"], "name", False),
        (["s1/0.jpg", "s1/0.jpg", "s2/1.jpg"], "stem", False),  # one image twice
    ],
)
def test_images_of_one_name_are_refused_where_files_take_it(paths: list[str], part: str, clash: bool) -> None:
    if clash:
        with pytest.raises(InputError, match=rf"--out maps: {paths[0]} and {paths[1]} have the same name"):
            require_names(Paths(paths), "--out maps", part)  # type: ignore[arg-type]
    else:
        require_names(Paths(paths), "--out maps", part)  # type: ignore[arg-type]
    require_names([1, 2], "--out maps")  # a dataset that does not tell

"""Images and label maps of all kinds: read as the stock steps read them, or refused with an error that names the file."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from PIL import Image
from small_datasets import (
    COLOUR,
    STRANGE_NAME,
    built,
    coco,
    colour_image,
    label_map,
    oriented,
    refusal,
    results_of,
    segmenter,
    write,
)

from mmvit.data.images import LoadImage
from mmvit.data.label_maps import LoadLabelMap
from mmvit.errors import InputError

pytestmark = pytest.mark.stack


def deep(path: Path, value: tuple[int, ...]) -> str:
    """16 bits a channel, BGR or grey."""
    assert cv2.imwrite(str(path), np.full((24, 40, len(value)), value, np.uint16))
    return str(path)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: colour_image(folder / "a.png", "L"), (124, 124, 124)),
        (lambda folder: colour_image(folder / "a.png", "P"), (50, 100, 200)),
        (lambda folder: colour_image(folder / "a.jpg", "CMYK"), (51, 101, 201)),
        (lambda folder: colour_image(folder / "a.tif", "CMYK"), (50, 100, 200)),
        (lambda folder: colour_image(folder / "a.png", "RGBA"), (50, 100, 200)),
        (lambda folder: deep(folder / "a.png", (50 << 8, 100 << 8, 200 << 8)), (50, 100, 200)),
        (lambda folder: deep(folder / "a.tif", (120 << 8,)), (120, 120, 120)),
        (lambda folder: colour_image(folder / f"{STRANGE_NAME}.png"), (50, 100, 200)),
    ],
)
def test_images_of_other_kinds_become_8_bit_bgr(
    tmp_path: Path, make: Callable[[Path], str], expected: tuple[int, int, int]
) -> None:
    image = LoadImage().transform(dict(img_path=make(tmp_path), height=24, width=40))["img"]
    assert image.shape == (24, 40, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= 3


def test_transparency_does_not_hide_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGBA", (4, 4), (*COLOUR, 0)).save(path)
    assert LoadImage().transform(dict(img_path=str(path)))["img"][0, 0].tolist() == [50, 100, 200]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_images_are_turned_upright(tmp_path: Path, ending: str) -> None:
    """Orientation 6: the row that is stored first stands at the right. The left half stored is the upper half shown."""
    path = oriented(tmp_path / f"a.{ending}", 6)
    results = LoadImage().transform(dict(img_path=path, height=40, width=24))
    assert results["ori_shape"] == (40, 24)
    assert results["img"][:15].min() > 200
    assert results["img"][25:].max() < 50
    message = refusal(LoadImage().transform, dict(img_path=path, height=24, width=40))
    assert message.startswith(
        f"image {path}: 40 x 24 pixels (height x width), turned upright from 6 of EXIF's orientations, but annotated as 24 x 40"
    )


@pytest.mark.parametrize(
    ("content", "told"), [(None, "no such file"), (b"", "cannot be decoded"), (b"no", "cannot be decoded")]
)
def test_images_that_cannot_be_read(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    assert refusal(LoadImage().transform, dict(img_path=str(path))).startswith(f"image {path}: ")
    assert told in refusal(LoadImage().transform, dict(img_path=str(path)))


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_truncated_images(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    assert f"image {path}: it cannot be decoded as an image" in refusal(LoadImage().transform, dict(img_path=str(path)))


def test_size_that_differs_from_the_annotation(tmp_path: Path) -> None:
    path = colour_image(tmp_path / "a.png")
    message = refusal(LoadImage().transform, dict(img_path=path, height=64, width=96))
    assert message.startswith(f"image {path}: 24 x 40 pixels (height x width), but annotated as 64 x 96: its boxes")


def thin(root: Path, height: int, task: str) -> Config:
    """A detector's or a segmenter's config, whose first image is one pixel wide."""
    if task == "detection":
        images = [dict(id=1, file_name="1.png", width=1, height=height)]
        box = dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 1, height], area=height, iscrowd=0)
        cfg = write(root, coco(images=images, annotations=[box]))
    else:
        cfg = segmenter(root)
        Image.new("L", (1, height)).save(root / "maps" / "1.png")
    Image.new("RGB", (1, height), COLOUR).save(root / "images" / "1.png")
    return cfg


each_task = pytest.mark.parametrize("task", ["detection", "segmentation"])


@each_task
def test_images_one_pixel_wide_pass_the_pipelines(tmp_path: Path, task: str) -> None:
    cfg = thin(tmp_path, 400, task)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for name in ("train_pipeline", "test_pipeline", "tta_pipeline"):
            sample = built(dict(cfg.test_dataloader.dataset, pipeline=cfg[name], test_mode=name != "train_pipeline"))[0]
            inputs = sample["inputs"] if name == "tta_pipeline" else [sample["inputs"]]
            assert all(min(view.shape) > 1 for view in inputs)
    told = f"image {tmp_path}/images/1.png: 401 x 1 pixels (height x width): resizing would leave one pixel or none"
    thin(tmp_path, 401, task)
    assert refusal(LoadImage().transform, dict(img_path=f"{tmp_path}/images/1.png")).startswith(told)


@each_task
def test_images_one_pixel_wide_pass_the_models(tmp_path: Path, task: str) -> None:
    cfg = thin(tmp_path, 20, task)
    dataset = cfg.test_dataloader.dataset
    if task == "segmentation":
        cfg.model.data_preprocessor.size = (64, 64)
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline):
        for step in pipeline:
            step.update({"scale": (640, 64)} if "scale" in step else {"crop_size": (64, 64)} if "crop_size" in step else {})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        sample = built(dict(dataset, pipeline=cfg.train_pipeline, test_mode=False))[0]
        losses = model(**model.data_preprocessor(pseudo_collate([sample, sample]), training=True), mode="loss")
        loss, _ = model.parse_losses(losses)
        assert loss.isfinite()
        model.eval()
        (found,) = model.test_step(pseudo_collate([built(dict(dataset, pipeline=cfg.test_pipeline))[0]]))
    assert found.ori_shape == (20, 1)
    if task == "segmentation":
        assert found.pred_sem_seg.data.shape == (1, 20, 1)


@pytest.mark.parametrize("reduce_zero_label", [False, True])
@pytest.mark.parametrize("classes", [None, {0: 1, 1: 255, 2: 0}])
@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "I"])
def test_labels_are_those_of_mmseg(tmp_path: Path, reduce_zero_label: bool, classes: dict[int, int] | None, mode: str) -> None:
    values = np.arange(960).reshape(24, 40) % 256
    path = tmp_path / f"{STRANGE_NAME}.{'tif' if mode == 'I' else 'png'}"
    results = results_of(path)
    if mode in ("I;16", "I"):
        Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32)).save(path)
    else:
        Image.fromarray(values.astype(np.uint8)).convert(mode).save(path)
    results.update(reduce_zero_label=reduce_zero_label, label_map=classes)
    ours = LoadLabelMap().transform({**results, "seg_fields": []})
    with DefaultScope.overwrite_default_scope("mmseg"):
        theirs = TRANSFORMS.build(dict(type="mmseg.LoadAnnotations")).transform({**results, "seg_fields": []})
    assert ours["gt_seg_map"].dtype == theirs["gt_seg_map"].dtype == np.uint8
    assert (ours["gt_seg_map"] == theirs["gt_seg_map"]).all()
    assert ours["seg_fields"] == theirs["seg_fields"] == ["gt_seg_map"]


def test_label_map_one_pixel_wide_keeps_its_shape(tmp_path: Path) -> None:
    results = label_map(tmp_path / "a.png", 1, size=(1, 24))
    results["ori_shape"] = (24, 1)
    assert LoadLabelMap().transform(results)["gt_seg_map"].shape == (24, 1)


@pytest.mark.parametrize("case", ["missing", "unreadable", "colours", "size", "beyond 255", "fractions"])
def test_label_maps_that_cannot_be_used(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.png"
    results, told = label_map(path), dict(missing="no such file", unreadable="it cannot be decoded").get(case)
    if case == "missing":
        path.unlink()
    elif case == "unreadable":
        path.write_bytes(b"\x89PNG")
    elif case == "colours":
        colour_image(path)
        told = "3 channels, like a colour image"
    elif case == "size":
        label_map(path, size=(24, 40))
        told = "40 x 24 pixels (height x width), but its image"
    elif case == "beyond 255":
        Image.fromarray(np.full((24, 40), 300, np.uint16)).save(path)
        told = f"values from 300 to 300 ({np.asarray(Image.open(path)).dtype})"  # Pillow before 10.3 reads int32
    else:
        path = path.with_suffix(".tif")
        Image.fromarray(np.full((24, 40), 0.5, np.float32)).save(path)
        results["seg_map_path"] = str(path)
        told = "values from 0.5 to 0.5 (float32)"
    message = refusal(LoadLabelMap().transform, results)
    assert message.startswith(f"label map {path}")
    assert f"image {results['img_path']}" in message
    assert told in message


def test_label_map_of_an_image_that_was_turned(tmp_path: Path) -> None:
    results = label_map(tmp_path / "a.png")
    results["img_path"] = oriented(tmp_path / "turned.jpg", 6)
    results = LoadImage().transform(results)
    told = f"its image {results['img_path']} has 40 x 24, turned upright from 6 of EXIF's orientations"
    assert told in refusal(LoadLabelMap().transform, results)


@pytest.mark.parametrize("leaf", ["fpn_van_b0_ade20k", "fpn_van_b2_cityscapes", "segformer_van_b2_cityscapes"])
def test_our_segmentation_pipelines_name_a_map_of_another_size(tmp_path: Path, leaf: str) -> None:
    cfg = segmenter(tmp_path, leaf=leaf)
    label_map(tmp_path / "maps" / "2.png", size=(40, 23))
    del cfg.tta_pipeline[1].transforms[0][1:]  # views of other sizes, which take their time
    with DefaultScope.overwrite_default_scope("mmseg"):
        for pipeline in (cfg.train_pipeline, cfg.test_pipeline, cfg.tta_pipeline):
            dataset = built(dict(cfg.val_dataloader.dataset, pipeline=pipeline))
            with pytest.raises(InputError, match=rf"label map {tmp_path}/maps/2\.png: 23 x 40 pixels"):
                dataset[1]

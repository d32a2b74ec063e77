"""The files of a dataset, opened by the doctor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as pycocotools_mask
from small_datasets import COLOUR, coco, colour_image, detector, label_map, segmenter, with_annotation, write

from mmvit.checks import files as data_checks
from mmvit.checks.plan import Plan
from mmvit.commands.doctor import main

pytestmark = pytest.mark.stack


def test_run_lengths_are_those_of_pycocotools() -> None:
    generator = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = np.asfortranarray(generator.random((50, 70)) < density, dtype=np.uint8)
        rle = pycocotools_mask.encode(mask)
        lengths = data_checks.runs(rle["counts"].decode())
        assert np.repeat(np.arange(len(lengths)) % 2, lengths).tolist() == mask.flatten("F").tolist()
        assert data_checks.rle_fault(dict(size=[50, 70], counts=rle["counts"].decode())) is None
        assert data_checks.rle_fault(dict(size=[50, 70], counts=lengths)) is None


@pytest.mark.parametrize("counts", ["", "garbage!!", "\x00ÿ", "PP", [3, 4], [-3, 19], ["a"], "zzzz", None])
def test_rles_that_do_not_decode(counts: Any) -> None:
    """Of an empty one pycocotools makes a mask of whatever lies in memory."""
    assert data_checks.rle_fault(dict(size=[4, 4], counts=counts))


def doctored(cfg: Config, splits: tuple[str, ...] = ("train", "val")) -> tuple[str, str]:
    """What the doctor finds in a dataset's files: what is well, and what is to be mended."""
    found = list(data_checks.check_files(Plan(cfg, splits)))
    sound = ("ok", "not checked")
    return tuple("\n".join(str(finding) for finding in found if (finding.verdict in sound) is well) for well in (True, False))


def test_doctor_opens_a_detection_dataset(tmp_path: Path) -> None:
    images = [dict(id=i, file_name=f"{i}.png", width=96, height=64) for i in range(1, 10)]
    crowd = dict(size=[64, 96], counts=[6000, 100])
    content = with_annotation(segmentation=crowd, iscrowd=1, image_id=2)
    content["images"] = images
    write(tmp_path, content)
    folder = tmp_path / "images"
    (folder / "1.png").write_bytes(b"broken")
    for number, mode in ((3, "L"), (4, "RGBA"), (5, "P")):
        Image.new("RGB", (96, 64), COLOUR).convert(mode).save(folder / f"{number}.png")
    Image.new("CMYK", (96, 64)).save(folder / "6.png", "JPEG")
    Image.fromarray(np.full((64, 96), 4000, np.uint16)).save(folder / "7.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (96, 64), COLOUR).save(folder / "8.png", exif=exif)
    Image.new("RGB", (97, 64), COLOUR).save(folder / "9.png")
    well, wrong = doctored(detector(tmp_path, "mask_rcnn"))
    assert "train_dataloader.dataset: 9 opened; handled, as mmvit.LoadImage says" in well
    assert "val_dataloader.dataset: 9 opened" in well
    for line in ("2 grey (", "1 16-bit (", "1 CMYK (", f"1 with transparency ({folder}/4.png)"):
        assert line in well, line
    told = "2 of 3 are used, 7 of 9 images have none, 1 are crowds, which are ignored"
    assert f"val_dataloader.dataset: {told}; 1 of 2 classes never occur: nut" in well
    assert f"train_dataloader.dataset: {told}\n" in well
    assert "nut" not in wrong, "the check of annotations says it"
    for line in (
        "train_dataloader.dataset: 3 images cannot be used",
        f"image {folder}/1.png: it cannot be decoded",
        f"image {folder}/8.png: 96 x 64 pixels (height x width), turned upright from 8 of EXIF's orientations",
        f"image {folder}/9.png: 64 x 97 pixels (height x width), but annotated as 64 x 96",
        "1 images come out nearly black",
        f"1 RLEs do not decode\n{26 * ' '}annotation 7 of {folder}/2.png: its runs have 6100 pixels, expected 6144",
    ):
        assert line in wrong, line


def test_doctor_opens_a_segmentation_dataset(tmp_path: Path) -> None:
    cfg = segmenter(tmp_path, [0, 255] * 20)
    well, wrong = doctored(cfg)
    assert wrong.count("2 opened; every pixel is 'screw' (0) or ignored (255, 50.0% of them). Where 255 means an object") == 2
    label_map(tmp_path / "maps" / "1.png", [0, 1, 255, 7] * 10)
    colour_image(tmp_path / "maps" / "2.png")
    well, wrong = doctored(cfg)
    assert "every class occurs" in well
    assert f"1 label maps have labels of no class, which are 0 to 1 and 255\n{26 * ' '}{tmp_path}/maps/1.png: 7" in wrong
    assert f"1 label maps cannot be used\n{26 * ' '}label map {tmp_path}/maps/2.png of image" in wrong
    label_map(tmp_path / "maps" / "2.png", 255)
    cfg.train_dataloader.dataset.reduce_zero_label = True
    well, wrong = doctored(cfg, ("train",))
    assert f"1 with a label map in which all is ignored ({tmp_path}/images/2.png)" in well
    assert "1.png: 6; in the file each is one more" in wrong


def test_doctor_leaves_unknown_datasets_closed(cfg: Config) -> None:
    cfg.train_dataloader.dataset.pipeline = [dict(type="LoadImageFromNDArray")]
    well, wrong = doctored(cfg, ("train",))
    assert "train_dataloader.dataset: not opened; this check does not know how CocoDataset reads its files" in well
    assert wrong == ""


def test_doctor_tells_many_faults_shortly(tmp_path: Path) -> None:
    images = [dict(id=i, file_name=f"{i}.png", width=1, height=1) for i in range(40)]
    cfg = write(tmp_path, coco(images=images, annotations=[]))
    for image in images:
        (tmp_path / "images" / image["file_name"]).write_bytes(b"")
    _, wrong = doctored(cfg, ("train",))
    assert "40 images cannot be used" in wrong
    assert wrong.count("cannot be decoded") == data_checks.LINES
    assert "and 37 more" in wrong


def test_doctors_command(tmp_path: Path, cfg: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Files are opened when asked for, and only where what they are is known."""
    (tmp_path / "images" / "2.png").write_bytes(b"broken")
    cfg.dump(tmp_path / "own.py")
    assert main([f"{tmp_path}/own.py"]) == 0
    capsys.readouterr()
    assert main([f"{tmp_path}/own.py", "--data"]) == 1
    said = capsys.readouterr().out
    assert "wrong        files        train_dataloader.dataset: 1 images cannot be used" in said
    (tmp_path / "ann.json").write_text("")
    assert main([f"{tmp_path}/own.py", "--data"]) == 1
    said = capsys.readouterr().out
    assert "wrong        annotations  " in said
    assert "opened" not in said
    with pytest.raises(SystemExit):
        main(["--data"])
    assert "--data needs a CONFIG" in capsys.readouterr().err

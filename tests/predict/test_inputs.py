"""Inputs that are damaged, too large, of other kinds, or left aside: each is named, and the rest goes on."""

import os
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from trained import Trained, write_film

from mmvit.__main__ import main
from mmvit.data.orientation import ORIENTATION
from mmvit.data.tiff import picture_of
from mmvit.errors import InputError
from mmvit.export.models import from_config
from mmvit.predict.runner import Read, Runner
from mmvit.predict.sessions import Session, by_name
from mmvit.predict.sources import pages, paths, pixels

pytestmark = pytest.mark.stack
TOO_LARGE = "it is larger than OpenCV reads, which is 2^30 pixels"
NOISE = np.random.default_rng(0)


def deep() -> Image.Image:
    return Image.fromarray(NOISE.integers(0, 65536, (40, 60), dtype=np.uint16))


def colour() -> Image.Image:
    return Image.fromarray(NOISE.integers(0, 256, (40, 60, 3), dtype=np.uint8))


MODES = {
    "I;16 png": (deep, "png"),
    "I;16 tif": (deep, "tif"),
    **{mode: (lambda mode=mode: colour().convert(mode), "png") for mode in ("L", "LA", "1", "P", "RGBA")},
    "CMYK": (lambda: colour().convert("CMYK"), "tif"),
    "RGBA tif": (lambda: Image.fromarray(NOISE.integers(0, 256, (40, 60, 4), dtype=np.uint8)), "tif"),
    "P gif": (lambda: colour().quantize(16), "gif"),
    **{
        f"RGB {suffix}": (colour, suffix)
        for suffix in ("png", "tif", "webp", "avif")
        if f".{suffix}" in Image.registered_extensions()
    },
}
READS_GIF = re.search(r"GIF: +YES", cv2.getBuildInformation()) is not None
TURNED = Image.Exif()
TURNED[ORIENTATION] = 6
HOW = dict(gif=dict(transparency=3), png=dict(exif=TURNED), webp=dict(lossless=True, exif=TURNED), avif=dict(exif=TURNED))


@pytest.mark.parametrize("mode", MODES)
def test_a_pil_image_and_its_file_are_the_same_pixels(detector: Trained, tmp_path: Path, mode: str) -> None:
    make, suffix = MODES[mode]
    file = tmp_path / f"image.{suffix}"
    make().save(file, **HOW.get(suffix, {}))
    with Image.open(file) as image:
        given = pixels(image, None, "image")
    if suffix == "gif" and not READS_GIF:
        assert (given == np.asarray(Image.open(file).convert("RGB"))[..., ::-1]).all()
        return
    by_stack, by_runner = detector.predictor().read(str(file)), Read().transform(dict(img_path=file))["img"]
    assert (by_stack == by_runner).all()
    assert (given == by_stack).all()
    assert given.std() > 10


def test_whole_numbers_of_32_bits_are_taken_as_16() -> None:
    values = np.arange(65536, dtype=np.int32).reshape(256, 256)
    assert (pixels(Image.fromarray(values), None, "a")[..., 0] == values >> 8).all()
    for wrong in (values + 1, values.astype(np.float32)):
        with pytest.raises(InputError, match="Expected 8 or 16 bits"):
            pixels(Image.fromarray(wrong), None, "a")


def test_colours_that_pillow_does_not_convert_are_refused() -> None:
    with pytest.raises(InputError, match=r"a: a PIL image of mode La\. Expected RGB or grey"):
        pixels(Image.new("La", (8, 8)), None, "a")


@pytest.mark.parametrize("options", ["", "--tile 64", "--pages all"])
@pytest.mark.parametrize(("shape", "brightest"), [((64, 96), 15), ((64, 96, 3), 16)])  # OpenCV rounds colours in TIFF
def test_twelve_bits_in_sixteen_are_said(
    detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture, shape: tuple, brightest: int, options: str
) -> None:
    file = tmp_path / "dark.tif"
    for _ in range(2 if "pages" in options else 1):
        page = NOISE.integers(0, 4096, shape, dtype=np.uint16)
        page[0] = 4095
        tifffile.imwrite(file, page, append=True, photometric="rgb" if len(shape) > 2 else "minisblack")
    assert detector.predict(file, out=tmp_path / "out", options=options) == 0
    page = " page 0" if "pages" in options else ""
    told = f"{file}{page}: nearly black, the brightest value is {brightest} of 255. Of its 16 bits the upper 8 are read"
    said = capsys.readouterr().err
    assert (told in said, said.count("nearly black")) == (True, 1)
    if not options:
        with pytest.warns(UserWarning, match="nearly black"):
            list(detector.predictor()(file))


def test_of_eight_bits_nothing_is_said_about_sixteen(tmp_path: Path, capsys: pytest.CaptureFixture, detector: Trained) -> None:
    file = tmp_path / "dark.png"
    Image.new("L", (96, 64), 3).save(file)
    assert detector.predict(file, out=tmp_path / "out") == 0
    assert capsys.readouterr().err == f"note: image {file}: nearly black, the brightest value is 3 of 255\n"


def test_names_that_opencv_does_not_take(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Given one that is not UTF-8, its functions end the process."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_film(tmp_path / "film.avi", 2)
    name = os.fsdecode(b"caf\xe9")
    try:
        colour().save(folder / f"{name}.tif")
    except OSError:
        pytest.skip("this file system takes no such name")
    (folder / f"{name}.md").write_bytes(b"no image")
    film = (tmp_path / "film.avi").rename(tmp_path / f"{name}.avi")
    assert detector.predict(folder, film, out=tmp_path / "out") == 1
    told = capsys.readouterr()
    assert told.out.startswith("1 image, ")
    for part in ("1 .md", ".tif: its name is not UTF-8, so that", ".avi: its name is not UTF-8, and OpenCV takes no other"):
        assert part in told.err
    assert (picture_of(str(folder / f"{name}.tif")) == cv2.imdecode(np.fromfile(folder / f"{name}.tif", np.uint8), 1)).all()


def test_an_address_is_refused(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert detector.predict("http://localhost:1/a.jpg", out=tmp_path / "out") == 2
    assert "http://localhost:1/a.jpg: an address, and only files are read. Download it" in capsys.readouterr().err


def test_an_empty_word_is_refused(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """It would name the current folder."""
    assert detector.predict("", out=tmp_path / "out") == 2
    assert "an empty word for a path, as of a variable of the shell that is not set" in capsys.readouterr().err


def test_what_a_folder_has_besides_is_said(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jfif", "c", "d.heic", "e.mp4", "f.txt", "inner/g.png", ".hidden.png"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        if name in ("d.heic", "e.mp4", "f.txt"):
            file.write_bytes(b"something else")
        else:
            colour().save(file, "PNG" if name.endswith("png") else "JPEG")
    told: list[str] = []
    assert [path.name for path in paths(tmp_path, tell=told.append)] == ["a.jpg", "b.jfif", "c"]
    for part in ("1 .heic (convert it to JPEG)", "1 .mp4 (name a film", "1 .txt", "1 subfolder (mmvit predict --recursive"):
        assert part in told[0]
    for name in ("inner/.ipynb_checkpoints/g.png", "inner/deep/overlays/h.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        colour().save(tmp_path / name)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "inner/linked").symlink_to(tmp_path / "inner")
    assert [path.name for path in paths(tmp_path, True, told.append)][-2:] == ["h.png", "g.png"]
    assert "subfolder" not in told[1]
    assert "1 dead link (its file is missing), 1 linked folder (name it" in told[1]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/x.heic").write_bytes(b"")
    with pytest.raises(InputError, match=r"it has 1 \.heic"):
        paths(tmp_path / "empty")


@pytest.mark.parametrize("out", ["results", "predictions_3", "earlier"])
def test_what_a_prediction_drew_is_no_input(detector: Trained, tmp_path: Path, out: str, capsys: pytest.CaptureFixture) -> None:
    for name in ("a/1.png", f"{out}/overlays/1.jpg", f"{out}/labels/1.png", "labels/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        colour().save(tmp_path / name)
    if out == "earlier":
        (tmp_path / out / "predictions.jsonl").touch()
    told: list[str] = []
    for words in (tmp_path, f"{tmp_path}/**/*.*g"):
        found = paths(words, True, told.append, tmp_path / "results")
        assert [str(file.relative_to(tmp_path)) for file in found] == ["a/1.png", "labels/2.png"]
    assert "2 result folders (mmvit predict wrote it)" in told[0]
    assert "2 files that mmvit predict wrote" in told[1]
    for words in (tmp_path / out / "overlays", f"{tmp_path}/{out}/overlays/*"):
        assert len(paths(words, True, told.append, tmp_path / "results")) == 1, "named, it is taken"
    assert detector.predict(tmp_path / "a", tmp_path / "a/1.png", out=tmp_path / "out", options="--score 1") == 0
    said = capsys.readouterr()
    assert ("1 file named again: each is taken once" in said.err, said.out[:8]) == (True, "1 image,")


ANIMATED = pytest.mark.skipif(not hasattr(cv2, "imreadanimation"), reason="this OpenCV reads no such animations")


@pytest.mark.parametrize(
    "suffix",
    [
        "tif",
        pytest.param("gif", marks=pytest.mark.skipif(not READS_GIF, reason="this OpenCV reads no GIF")),
        pytest.param("png", marks=ANIMATED),
        pytest.param("webp", marks=ANIMATED),
    ],
)
def test_pages(detector: Trained, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"pages.{suffix}"
    images = [Image.new("RGB", (60, 40), "blue") for _ in range(3)]
    for number, image in enumerate(images):  # animations hold what has changed since the frame before
        image.paste("red", (18 * number, 9, 18 * number + 20, 30))
    images[0].save(file, save_all=True, append_images=images[1:], **(dict(lossless=True) if suffix == "webp" else {}))
    told: list[str] = []
    assert [source.name for source in pages(file, False, told.append)] == [str(file)]
    assert "first of its 3 pages" in told[0]
    assert detector.predict(file, out=tmp_path / "out", options="--pages all") == 0
    assert sorted(path.name for path in (tmp_path / "out/overlays").iterdir()) == ["pages.jpg", "pages_2.jpg", "pages_3.jpg"]
    for source, image in zip(pages(file, True, told.append), images, strict=True):
        assert (source.pixels == np.asarray(image)[..., ::-1]).all()


def test_a_page_that_cannot_be_decoded(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "pages.tif"
    images = [colour() for _ in range(3)]
    images[0].save(file, save_all=True, append_images=images[1:], compression="raw")
    with Image.open(file) as image:
        image.seek(2)
        begin = image.tag_v2[273][0]  # of its strip
    file.write_bytes(file.read_bytes()[: begin + 99])
    assert detector.predict(file, out=tmp_path / "out", options="--pages all --score 1") == 1
    told = capsys.readouterr()
    assert (told.out[:9], f"left out: image {file} page 2: it cannot be decoded. Replace" in told.err) == ("2 images,", True)


@pytest.mark.parametrize("tile", [[], ["--tile", "64"]])
def test_one_picture_does_not_end_the_run(
    detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture, tile: list[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (3, 900), 200).save(folder / "a_thin.png")
    Image.new("1", (33000, 33000)).save(folder / "b_large.png")
    (folder / "c_broken.png").write_bytes(b"no image")
    colour().save(folder / "d_good.png")
    cfg = deepcopy(detector.cfg)
    cfg.test_dataloader.dataset.pipeline[1] = dict(type="Resize", scale=(64, 64), keep_ratio=True)
    cfg.dump(tmp_path / "config.py")
    words = [str(tmp_path / "config.py"), str(detector.checkpoint), str(folder), "--out", str(tmp_path / "out")]
    assert main(["predict", *words, *tile, "--score", "0.9"]) == 1
    told = capsys.readouterr()
    assert [name in told.err for name in ("a_thin.png", "b_large.png", "c_broken.png")] == [not tile, True, True]
    assert "Traceback" not in told.err
    assert f"{folder / 'b_large.png'}: {TOO_LARGE}" in told.err
    with pytest.raises(InputError, match=rf"b_large\.png: {re.escape(TOO_LARGE)}"):
        Read().transform(dict(img_path=folder / "b_large.png"))
    assert (tmp_path / "out/overlays/d_good.jpg").is_file()


def test_too_little_memory_leaves_one_picture_out(detector: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = detector.predictor(batch_size=4)
    step = predictor.loaded.model.test_step

    def lacking(data: dict) -> list:
        if any(len(data["inputs"]) > 1 or sample.img_path.endswith("1.png") for sample in data["data_samples"]):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return step(data)

    monkeypatch.setattr(predictor.loaded.model, "test_step", lacking)
    told: list[InputError] = []
    found = list(predictor(sorted(detector.images.iterdir()), failed=told.append))
    assert [Path(result.source).name for result in found] == ["0.png", "2.png", "3.png"]
    assert ["1.png" in str(error) and "memory" in str(error) for error in told] == [True]


def test_a_picture_that_an_exported_program_does_not_take_is_left_out(
    model_of: Callable[[str], Trained], tmp_path: Path
) -> None:
    """Of one pixel: torch's programs of any size assert two. The rest goes on."""
    segmenter = model_of("fpn")
    predictor, exportable = segmenter.predictor(batch_size=2), from_config(segmenter.config, segmenter.checkpoint)
    run = by_name(exportable.program, exportable.program.inputs)
    predictor.loaded = Runner(Session(run, dict(exportable.metadata, size=None, batch=1)), 0.0, "cpu")
    for name, sides in dict(a=(40, 50), b=(1, 1), c=(2, 64), d=(40, 50)).items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((*sides, 3), 90, np.uint8))
    told: list[InputError] = []
    found = list(predictor(tmp_path, failed=told.append))
    assert [Path(result.source).name for result in found] == ["a.png", "c.png", "d.png"]
    (error,) = map(str, told)
    assert re.search(r"b\.png: 1 x 1 pixels are not what the exported model takes: \w+", error)


def test_a_picture_beyond_the_limits_of_a_runtime_may_be_cut(detector: Trained) -> None:
    def run(feed: dict) -> list:
        raise RuntimeError("Resize: output element count exceeds supported int32 indexing range")

    about = dict(kind="segmenter", classes=["a"], palette=None, inputs=["image"], size=None, scale=None, batch=1)
    predictor, told = detector.predictor(), list[InputError]()
    predictor.loaded = Runner(Session(run, about))
    assert list(predictor(detector.images, failed=told.append)) == []
    assert [f"{number}.png: " in str(error) and "cut it with --tile" in str(error) for number, error in enumerate(told)] == [
        True
    ] * 4

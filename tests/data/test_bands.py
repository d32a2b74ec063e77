"""TIFF files with many bands: the same pixels whole and in windows, however the file lays them out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from mmengine.registry import TRANSFORMS

from mmvit.data.tiff import Bands, Scale, georeference, label_file, picture_of, statistics, visible
from mmvit.errors import InputError

SAMPLES: dict[str, Any] = dict(photometric="minisblack", planarconfig="contig")
LAYOUTS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "samples in strips": ((70, 90, 6), dict(SAMPLES, rowsperstrip=16)),
    "samples in tiles, deflated": (
        (70, 90, 6),
        dict(photometric="minisblack", planarconfig="contig", tile=(32, 48), compression="zlib"),
    ),
    "planes in tiles": ((6, 70, 90), dict(photometric="minisblack", planarconfig="separate", tile=(32, 48))),
    "pages": ((6, 70, 90), dict(photometric="minisblack", metadata=dict(axes="CYX"), rowsperstrip=20)),
    "one band": ((70, 90), dict()),
}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_have_the_pixels_of_the_whole(tmp_path: Path, layout: str, kind: type) -> None:
    shape, options = LAYOUTS[layout]
    values = np.random.default_rng(0).integers(0, 250, shape).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    bands_last = values if shape[-1] == 6 else np.moveaxis(np.atleast_3d(values.T).T, 0, -1)
    with Bands(tmp_path / "a.tif") as bands:
        assert bands.shape == (70, 90, 1 if layout == "one band" else 6)
        assert np.array_equal(bands[:, :], bands_last.astype(np.float32))
        for top, bottom, left, right in ((0, 70, 0, 90), (3, 40, 50, 90), (31, 33, 47, 49), (69, 70, 0, 1)):
            assert np.array_equal(bands[top:bottom, left:right], bands_last[top:bottom, left:right].astype(np.float32))


def test_a_window_decodes_no_more_than_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64, 5), np.uint16), **SAMPLES, tile=(16, 16))
    read: list[int] = []
    segments = tifffile.FileHandle.read_segments

    def counted(self: Any, offsets: Any, counts: Any, indices: Any = None, **options: Any) -> Any:
        read.append(len(offsets))
        return segments(self, offsets, counts, indices, **options)

    monkeypatch.setattr(tifffile.FileHandle, "read_segments", counted)
    with Bands(tmp_path / "a.tif") as bands:
        assert bands[10:20, 0:16].shape == (10, 16, 5)
    assert read == [2]


def test_pixels_without_data_are_the_mean(tmp_path: Path) -> None:
    values = np.full((20, 30, 4), 7, np.float32)
    values[0, 0], values[1, 1, 2] = -9999, np.nan
    tifffile.imwrite(tmp_path / "a.tif", values, **SAMPLES, extratags=[(42113, "s", 0, "-9999", True)])
    mean, std = statistics([tmp_path / "a.tif"])
    assert (mean, std) == ([7.0] * 4, [1.0] * 4)
    with Bands(tmp_path / "a.tif") as bands:
        found = Scale([5] * 4, [2] * 4).of(bands)
    assert found[0, 0].tolist() == [0] * 4
    assert found[1, 1].tolist() == [1, 1, 0, 1]
    assert visible(found, True)[5, 5].tolist() == visible(found[..., :2], True)[5, 5].tolist() == [192] * 3
    for pixels, wanted in (  # floats of a picture's reading step, as of a Mask2Former's, are bands no more than others
        (np.array([[[1.5, 254.7, 300]]], np.float32), [2, 255, 255]),
        (np.full((4, 5), -1, np.float32), [0] * 3),
        (np.full((4, 5), 9, np.uint8), [9] * 3),
        (np.full((4, 5, 1), 2560, np.uint16), [10] * 3),
        (np.array([[[1, 2, 3, 4]]], np.uint8), [1, 2, 3]),
        (np.array([[[256, 512, 768]]], np.uint16), [1, 2, 3]),
    ):
        picture = visible(pixels, False)
        assert (picture.dtype, picture.shape, picture[0, 0].tolist()) == (np.uint8, (*pixels.shape[:2], 3), wanted)


def test_statistics_are_those_of_all_pixels(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(500, 80, (2, 40, 50, 5)).astype(np.uint16)
    for number, image in enumerate(values):
        tifffile.imwrite(tmp_path / f"{number}.tif", image, **SAMPLES)
    mean, std = statistics(sorted(tmp_path.glob("*.tif")))
    assert mean == pytest.approx(values.mean((0, 1, 2)), rel=1e-5)
    assert std == pytest.approx(values.std((0, 1, 2)), rel=1e-5)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    load = TRANSFORMS.build(dict(type="mmvit.LoadBands", mean=[0] * 3, std=[1] * 3))
    for name, content, words in (
        ("absent.tif", None, "no such file. Expected a TIFF file"),
        ("text.tif", b"no image", "it cannot be decoded"),
        ("four.tif", np.zeros((8, 8, 4), np.uint8), "4 bands. Expected 3"),
        ("many.tif", np.zeros((8, 8, 40), np.uint8), "40 bands of uint8. Expected at most 32"),
        ("complex.tif", np.zeros((8, 8, 2), np.complex64), "2 bands of complex64"),
    ):
        file = tmp_path / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif content is not None:
            tifffile.imwrite(file, content, **SAMPLES)
        with pytest.raises(InputError, match=words) as raised:
            load.transform(dict(img_path=str(file)))
        assert str(file) in str(raised.value)
    tifffile.imwrite(tmp_path / "three.tif", np.zeros((8, 9, 3), np.uint8), **SAMPLES)
    with pytest.raises(InputError, match=r"three\.tif: 8 x 9 pixels .*, but annotated as 9 x 8"):
        load.transform(dict(img_path=str(tmp_path / "three.tif"), height=9, width=8))
    with pytest.raises(InputError, match="Expected one number above 0 a band"):
        Scale([0, 0], [1])


def test_label_maps_keep_the_georeference(tmp_path: Path) -> None:
    tags = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 4.6e6, 0.0), True)]
    tags.append((34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32632), True))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30, 4), np.uint16), **SAMPLES, extratags=tags)
    (tmp_path / "b.tif").write_bytes(label_file(np.eye(20, 30, dtype=np.uint8), georeference(tmp_path / "a.tif")))
    assert georeference(tmp_path / "b.tif") == georeference(tmp_path / "a.tif") != []
    assert np.array_equal(tifffile.imread(tmp_path / "b.tif"), np.eye(20, 30))
    assert georeference(tmp_path / "absent.tif") == []


def test_pictures_of_many_bands_and_of_any_other_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(900, 50, (20, 30, 6))
    values[5:10, 5:10, 0] += 400
    tifffile.imwrite(tmp_path / "a.tif", values.astype(np.uint16), **SAMPLES)
    seen = picture_of(str(tmp_path / "a.tif"))
    assert (seen.shape, seen.dtype) == ((20, 30, 3), np.uint8)
    assert seen[7, 7, 2] == 255  # the first band is red
    tifffile.imwrite(tmp_path / "b.tif", np.full((4, 5, 3), (9, 5, 1), np.uint8), photometric="rgb")
    assert picture_of(str(tmp_path / "b.tif"))[0, 0].tolist() == [1, 5, 9]

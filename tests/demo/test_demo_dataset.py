"""The embedded demo dataset: the three formats agree, builds are reproducible, and nobody's files are at risk."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from makers import HOME, run_python

from mmvit.demo.dataset import CLASSES, SEGMENTATION_CLASSES, DemoSpec, build

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
COCO = pytest.importorskip("pycocotools.coco").COCO
ndimage = pytest.importorskip("scipy.ndimage")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")

from mmvit.demo import formats, scenes  # noqa: E402  (needs what was just made sure of)

SPEC = DemoSpec(train_images=12, val_images=6)
TINY = DemoSpec(train_images=1, val_images=1)
FOLDERS = {"train": "training", "val": "validation"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build(tmp_path_factory.mktemp("demo") / "data", SPEC)


@pytest.fixture(scope="module", params=("train", "val"))
def split(request):
    return request.param


@pytest.fixture(scope="module")
def coco(root, split):
    return COCO(root / f"coco/annotations/instances_{split}2017.json")


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert path.suffix == ".jpg" or image.mode in ("L", "RGB")
        return np.array(image)


def ade_map(root: Path, split: str, image_id: int) -> np.ndarray:
    folder = root / "ade/ADEChallengeData2016/annotations" / FOLDERS[split]
    return pixels(folder / f"ADE_{split}_{image_id:08d}.png")


def cityscapes_map(root: Path, split: str, image_id: int) -> np.ndarray:
    folder = root / "cityscapes/gtFine" / split / "digits"
    return pixels(folder / f"digits_{image_id:06d}_000000_gtFine_labelTrainIds.png")


# The contents


def test_a_build_is_the_same_byte_for_byte(root, tmp_path):
    assert digests(build(tmp_path / "again", SPEC)) == digests(root)


@pytest.mark.parametrize(("spec", "same"), [(TINY, True), (replace(TINY, seed=1), False)], ids=["fewer", "another seed"])
def test_a_scene_depends_on_the_seed_and_not_on_how_many_there_are(root, tmp_path, spec, same):
    first = "coco/train2017/000000000001.jpg"
    assert (digests(build(tmp_path / "other", spec))[first] == digests(root)[first]) is same


def test_coco_categories_images_and_counts(root, coco, split):
    categories = coco.dataset["categories"]
    assert [(one["id"], one["name"]) for one in categories] == [(index + 1, CLASSES[index]) for index in range(10)]
    assert len(coco.imgs) == {"train": 12, "val": 6}[split]
    for image in coco.imgs.values():
        assert pixels(root / f"coco/{split}2017" / image["file_name"]).shape == (image["height"], image["width"], 3)
        assert 1 <= len(coco.getAnnIds(image["id"])) <= scenes.DIGITS[1]


def test_every_annotation_decodes_to_its_area_and_box(coco):
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        left, top, width, height = annotation["bbox"]
        assert mask.shape == (SPEC.image_size, SPEC.image_size)
        assert mask.sum() == annotation["area"] > 0
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
        assert annotation["iscrowd"] == 0


def test_masks_are_of_both_kinds_and_do_not_overlap(coco):
    assert {type(annotation["segmentation"]) for annotation in coco.anns.values()} == {list, dict}
    for image_id in coco.imgs:
        assert sum(coco.annToMask(one).astype(int) for one in coco.imgToAnns[image_id]).max() == 1


def test_train_and_val_share_no_ids_scans_or_photographs(root):
    train, val = (COCO(root / f"coco/annotations/instances_{split}2017.json").dataset for split in ("train", "val"))
    for kind, names in (("images", ("id", "photograph")), ("annotations", ("id", "scan"))):
        for name in names:
            assert not {one[name] for one in train[kind]} & {one[name] for one in val[kind]}


def test_the_sources_are_all_scans_in_two_disjoint_parts():
    train, val = scenes.load_sources("train"), scenes.load_sources("val")
    assert (len(train.scans), len(val.scans)) == (1500, 297)
    assert not set(train.indices) & set(val.indices)
    assert not train.photographs.keys() & val.photographs.keys()
    assert set(train.labels) == set(val.labels) == set(range(10))


def test_annotations_bear_the_class_of_their_scan(root, coco):
    target = pytest.importorskip("sklearn.datasets").load_digits().target
    assert all(target[one["scan"]] == one["category_id"] - 1 for one in coco.anns.values())


def test_label_maps_say_what_the_instance_masks_say(root, coco, split):
    for image_id in coco.imgs:
        ade, cityscapes = ade_map(root, split, image_id), cityscapes_map(root, split, image_id)
        expected = np.zeros_like(cityscapes)
        for one in coco.imgToAnns[image_id]:
            expected[coco.annToMask(one) > 0] = SEGMENTATION_CLASSES.index(CLASSES[one["category_id"] - 1])
        ignored = cityscapes == 255
        assert np.array_equal(cityscapes[~ignored], expected[~ignored])
        assert not expected[ignored].any()
        assert 0 < ignored.mean() < 0.2
        assert np.array_equal(ade, np.where(ignored, 0, cityscapes + 1))
        assert ade.max() <= len(SEGMENTATION_CLASSES)


def test_the_three_formats_show_the_same_images(root, coco, split):
    for image_id, image in coco.imgs.items():
        jpeg = root / f"coco/{split}2017" / image["file_name"]
        ade = root / "ade/ADEChallengeData2016/images" / FOLDERS[split] / f"ADE_{split}_{image_id:08d}.jpg"
        png = root / "cityscapes/leftImg8bit" / split / "digits" / f"digits_{image_id:06d}_000000_leftImg8bit.png"
        assert jpeg.read_bytes() == ade.read_bytes()
        assert np.abs(pixels(jpeg).astype(int) - pixels(png)).mean() < 3  # what JPEG loses


def test_digits_stand_out_and_stay_uncovered():
    for scene in scenes.scenes("val", replace(SPEC, val_images=10)):
        luma = scene.image @ np.array([0.299, 0.587, 0.114])
        ink = np.any([digit.mask for digit in scene.digits], axis=0)
        paper = ~ndimage.binary_dilation(ink, iterations=4)
        for digit in scene.digits:
            assert np.count_nonzero(digit.mask) >= scenes.MIN_VISIBLE * digit.area
            around = paper & ndimage.binary_dilation(digit.mask, iterations=8)
            if around.any():
                assert abs(np.median(luma[digit.mask]) - np.median(luma[around])) > scenes.MIN_CONTRAST / 2


@pytest.mark.parametrize(
    ("rows", "polygon"),
    [
        (("##", "##"), [0, 0, 2, 0, 2, 2, 0, 2]),
        ((".#", "##"), [1, 0, 2, 0, 2, 2, 0, 2, 0, 1, 1, 1]),
        (("###", "#.#", "###"), None),  # a hole
        (("#.#",), None),  # two pieces
        (("#.", ".#"), None),  # two pieces that touch at a corner
    ],
)
def test_outline(rows, polygon):
    mask = np.array([[cell == "#" for cell in row] for row in rows])
    found = formats.outline(mask)
    if polygon is None:
        assert found is None
    else:
        corners = [(found[at], found[at + 1]) for at in range(0, len(found), 2)]
        assert set(corners) == {(polygon[at], polygon[at + 1]) for at in range(0, len(polygon), 2)}
        assert len(corners) == len(polygon) // 2


# The building


def test_the_same_settings_rewrite_nothing(root):
    before = times(root)
    assert build(root, SPEC) == root
    assert build(str(root), SPEC) == root
    assert times(root) == before


def test_other_settings_replace_the_dataset(tmp_path):
    build(tmp_path / "data", TINY)
    build(tmp_path / "data", replace(TINY, seed=1))
    assert digests(tmp_path / "data") == digests(build(tmp_path / "fresh", replace(TINY, seed=1)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "fresh"]


def test_a_missing_file_is_mended(tmp_path):
    whole = digests(build(tmp_path / "data", TINY))
    (tmp_path / "data/coco/annotations/instances_val2017.json").unlink()
    assert digests(build(tmp_path / "data", TINY)) == whole


@pytest.mark.parametrize("older", [False, True])
def test_an_interrupted_build_leaves_all_as_it_was(tmp_path, monkeypatch, older):
    place = tmp_path / "data"
    if older:
        build(place, replace(TINY, seed=1))
    before = digests(place)
    monkeypatch.setattr(formats, "_annotation_records", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(place, TINY)
    assert digests(place) == before
    assert [path.name for path in tmp_path.iterdir()] == (["data"] if older else [])


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("stamped", [False, True])
def test_files_of_others_are_never_deleted(tmp_path, stamped):
    place = tmp_path / "data"
    if stamped:
        build(place, TINY)
    else:
        place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"data.*thesis\.txt"):
        build(place, replace(TINY, seed=1))
    assert (place / "thesis.txt").read_text() == "years of work"


def test_a_foreign_stamp_does_not_make_a_folder_ours(tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps({"spec": asdict(TINY)}))
    with pytest.raises(FileExistsError, match="choose another root"):
        build(tmp_path, TINY)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        build(tmp_path / "data", TINY)


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "data").mkdir()
    assert (build(tmp_path / "data", TINY) / "spec.json").is_file()


def test_builds_at_once_do_not_disturb_one_another(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: build(tmp_path / "data", TINY), range(4)))
    assert digests(tmp_path / "data") == digests(build(tmp_path / "alone", TINY))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_missing_library_is_named_with_the_remedy(tmp_path):
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from mmvit.demo import build\n"
        f"try: build({str(tmp_path / 'data')!r})\n"
        "except ImportError as error: assert 'sklearn' in str(error) and \"'mmvit[demo]'\" in str(error), error\n"
        "else: raise SystemExit('built without scikit-learn')"
    )
    run_python("-c", code, cwd=HOME)
    assert not any(tmp_path.iterdir())

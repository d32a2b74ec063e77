"""Which picture a name means: one name in many folders, names with odd characters, and what a run makes of them."""

from codecs import BOM_UTF8
from pathlib import Path

import numpy as np
import pytest
from labelling import coco_content, coco_splits, label_maps, picture, pictures, write_json, yolo_beside

from mmvit.errors import InputError
from mmvit.project import folder
from mmvit.project.description import Collection, Picture
from mmvit.project.folder import Folder, words_of
from mmvit.project.formats import read
from mmvit.project.make import Options, find
from mmvit.project.targets import AREAS
from mmvit.project.writing import parallel, write_lists


@pytest.mark.parametrize("images", ["{}/0.jpg", "{}/0.jpg {}/extra/0.jpg", "{}/0.jpg {}/extra/0.jpg {}/extra/more/0.jpg"])
def test_folders_of_one_name_count_before_depth(tmp_path: Path, images: str) -> None:
    (tmp_path / "data.yaml").write_text("names: [a, b, c]\n")
    for number, image in enumerate(images.split()):
        picture(tmp_path / image.format("images"), number)
        label = tmp_path / image.format("labels").replace("jpg", "txt")
        label.parent.mkdir(parents=True)
        label.write_text(f"{number} .5 .5 .3 .3\n")
    found = {len(entry.file.parts) - 2: entry.things[0].name for entry in read(Folder(tmp_path)).pictures}
    assert found == dict(enumerate("abc"[: len(found)]))
    assert len(found) == len(images.split())


def test_frames_of_many_clips_are_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that says the folder is compared with no picture of another folder: time would grow with the square."""
    for clip in range(5):
        for frame in range(4):
            picture(tmp_path / "images" / f"clip{clip}" / f"{frame}.jpg", 9 * clip + frame)
    known = Folder(tmp_path)
    monkeypatch.setattr(folder, "shared", None)
    for clip in range(5):
        for named in (f"labels/clip{clip}/2", f"C:\\old\\Clip{clip}\\2.jpg"):
            assert known.picture(named) == Path(f"images/clip{clip}/2.jpg")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://bucket/a/img #3.jpg", ["a", "img #3.jpg"]),
        ("gs://bucket/x?y.jpg", ["x?y.jpg"]),
        ("https://host/a/b%20c.jpg?token=1#top", ["a", "b c.jpg"]),
        ("/data/local-files/?d=a%2Fb.jpg", ["a", "b.jpg"]),
        ("file:///home/a/b%20c.jpg", ["home", "a", "b c.jpg"]),
    ],
)
def test_addresses(address: str, words: list[str]) -> None:
    assert words_of(address) == words


@pytest.mark.parametrize("name", ["photo .jpg", " photo.jpg"])
def test_spaces_that_a_list_would_lose(tmp_path: Path, name: str) -> None:
    """Maps are written, and lists have whole names; a name that begins with a space at the root has no remedy but another."""
    label_maps(tmp_path, "L")
    assert parallel(Folder(tmp_path), read(Folder(tmp_path))) is not None
    (tmp_path / "images" / "p 1.jpg").rename(tmp_path / "images" / name)
    (tmp_path / "masks" / "p 1.png").rename(tmp_path / "masks" / Path(name).with_suffix(".png"))
    collection = read(Folder(tmp_path))
    assert len(collection.pictures) == 4
    assert parallel(Folder(tmp_path), collection) is None
    collection.pictures[-1].split = "train"
    write_lists(collection, tmp_path / "out", "", "")
    with pytest.raises(InputError, match=r"' photo.jpg': mmseg cuts spaces around a name in a list. Rename the file or folder"):
        write_lists(Collection([], [Picture(Path(" photo.jpg"), 9, 9, split="train")]), tmp_path / "out", "", "")


def test_notes_in_another_encoding_are_no_labels(tmp_path: Path) -> None:
    yolo_beside(tmp_path)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "notes.txt").write_bytes("Größe".encode("latin-1"))
    collection = read(Folder(tmp_path))
    assert collection.aside["text files that are not YOLO labels"] == ["labels/notes.txt"]
    assert len(collection.things()) == 3


def test_a_byte_order_mark_is_taken_away(tmp_path: Path) -> None:
    """mmdet refuses it: such a file is written anew."""
    coco_splits(tmp_path)
    assert read(Folder(tmp_path)).direct
    file = tmp_path / "valid" / "_annotations.coco.json"
    file.write_bytes(BOM_UTF8 + file.read_bytes())
    collection = read(Folder(tmp_path))
    assert not collection.direct
    assert len(collection.things()) == 6


@pytest.mark.parametrize(("second", "told"), [("b", True), ("a", False), (None, False)])
def test_areas_of_classes_are_told(tmp_path: Path, second: str | None, told: bool) -> None:
    """COCO-Stuff's segments: each class once a picture, and all is covered; not objects of one class, nor one object alone."""
    images, annotations = [], []
    for number in range(4):
        picture(tmp_path / f"{number}.jpg", number)
        images.append(dict(id=number, file_name=f"{number}.jpg", width=64, height=48))
        for part, name in enumerate(filter(None, ("a", second))):
            box = [32 * part, 0, 32 if second else 64, 48]
            x, y, right, bottom = np.cumsum([box[:2], box[2:]], 0).ravel().tolist()
            shape = [[x, y, right, y, right, bottom, x, bottom]]
            entry = dict(id=9 * number + part + 1, image_id=number, category_id="ab".index(name) + 1, bbox=box, iscrowd=0)
            annotations.append(dict(entry, segmentation=shape, area=box[2] * box[3]))
    categories = [dict(id=number + 1, name=name) for number, name in enumerate("ab")]
    write_json(tmp_path / "stuff.json", dict(images=images, annotations=annotations, categories=categories))
    found = find(Options(tmp_path, tmp_path.with_name("out")))
    assert found.task == "masks"
    assert (AREAS in found.collection.notes) == told
    assert AREAS not in find(Options(tmp_path, tmp_path.with_name("out"), task="masks")).collection.notes


def test_ids_that_belong_to_no_picture(tmp_path: Path) -> None:
    pictures(tmp_path)
    content = coco_content()
    for entry in content["annotations"]:
        entry["image_id"] = str(entry["image_id"])
    write_json(tmp_path / "a.json", content)
    with pytest.raises(InputError, match=r"a.json: no object has a picture: image_id is '0', '1', the id of images 0, 1, 2"):
        read(Folder(tmp_path))

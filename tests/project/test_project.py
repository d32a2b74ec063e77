"""`mmvit new`: splits, the config, what is written; and each task trained, validated and used."""

import json
import math
import re
from collections import Counter
from io import StringIO
from itertools import combinations
from pathlib import Path

import pytest
from labelling import (
    SIZE,
    TOOLS,
    black_and_white,
    coco_content,
    coco_splits,
    cvat_coco,
    label_maps,
    picture,
    pictures,
    roboflow_coco,
    voc,
    write_json,
    yolo,
)
from makers import HOME
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from rich.console import Console

from mmvit.checks.doctor import examine_config
from mmvit.commands.new import main
from mmvit.data.colours import colours
from mmvit.engine.configuration import TrainOptions
from mmvit.engine.launch import train
from mmvit.errors import InputError
from mmvit.predict.predictor import Predictor
from mmvit.project import plan, tell
from mmvit.project.config import quoted
from mmvit.project.description import Collection, Picture, Thing
from mmvit.project.make import Options, find, write
from mmvit.project.split import complete
from mmvit.project.survey import leaked, rare_classes

SHORT = {
    "train_dataloader.num_workers": 0,
    "val_dataloader.num_workers": 0,
    "train_dataloader.batch_size": 2,
    "default_hooks.checkpoint.interval": 1,
}
EPOCH = {"train_cfg.max_epochs": 1, "train_cfg.val_interval": 1}
TWO = {"train_cfg.max_iters": 2, "train_cfg.val_interval": 2, "param_scheduler.0.end": 1, "param_scheduler.1.begin": 1}


@pytest.fixture(autouse=True)
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test asks the network, and each writes to a folder of its own."""

    def silent(address: str) -> int:
        raise OSError(address)

    monkeypatch.setattr(plan, "size_of", silent)
    monkeypatch.setattr(plan, "locate", lambda source: (source, Path("nowhere")))
    monkeypatch.chdir(tmp_path)


def scattered(counts: dict[str, int], empty: int = 0) -> Collection:
    """Pictures with one object each of some classes, and some without."""
    names = [name for name, count in counts.items() for _ in range(count)] + [""] * empty
    found = Collection(list(counts))
    for number, name in enumerate(names):
        things = [Thing(name, (1, 1, 9, 9))] if name else []
        found.pictures.append(Picture(Path(f"clip{number % 7}_{number}.jpg"), *SIZE, things))
    return found


def shares(found: Collection, split: str) -> Counter[str]:
    return Counter(picture.things[0].name if picture.things else "" for picture in found.of(split))


@pytest.mark.parametrize("seed", range(5))
def test_splits_keep_classes_in_proportion(seed: int) -> None:
    found, again = (scattered({"common": 100, "some": 20, "rare": 5, "once": 1}, empty=10) for _ in range(2))
    for collection in (found, again):
        complete(collection, 0.2, seed, None, [])
    assert shares(found, "val") == Counter({"common": 20, "some": 4, "rare": 1, "": 2})
    assert again.pictures == found.pictures


@pytest.mark.parametrize("seed", range(5))
def test_validation_has_objects(seed: int) -> None:
    """Nothing is measured on pictures without any: of a few, one with objects validates."""
    found = scattered({"a": 2, "b": 1}, empty=2)
    complete(found, 0.2, seed, None, [])
    assert shares(found, "val") == Counter({"a": 1})


def test_groups_and_doubled_files_stay_together() -> None:
    found = scattered({"a": 40, "b": 20})
    complete(found, 0.2, 0, r"^clip\d+", [])
    splits = {(entry.file.name.partition("_")[0], entry.split) for entry in found.pictures}
    assert len(splits) == 7
    assert {split for _, split in splits} == {"train", "val"}
    pairs = [[found.pictures[i].file, found.pictures[59 - i].file] for i in range(30)]
    by_file = {entry.file: entry for entry in found.pictures}
    for entry in found.pictures:
        entry.split = None
    complete(found, 0.3, 0, None, pairs)
    assert all(by_file[one].split == by_file[other].split for one, other in pairs)
    assert {entry.split for entry in found.pictures} == {"train", "val"}


def test_a_pattern_that_finds_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match=r"--group-by \^film: no picture's path has it, such as clip0_0.jpg"):
        complete(scattered({"a": 5}), 0.2, 0, "^film", [])


def made(data: Path, **options: object) -> Config:
    """Write the config of a project in `out`, and read it."""
    asked = Options(data, Path("out"), **options)  # type: ignore[arg-type]  # the fields' own types
    found = find(asked)
    file, _ = write(asked, found, plan.plan(found.task, asked.arch, asked.head, found.facts))
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 40, text
    return Config.fromfile(file)


def test_classes_are_numbered_by_name(tmp_path: Path) -> None:
    """Two files that list their categories in other orders: read as they are, one of them would swap the names."""
    coco_splits(tmp_path / "data")
    write_json(tmp_path / "data" / "valid" / "_annotations.coco.json", coco_content(names=("dog & co", "cat")))
    cfg = made(tmp_path / "data", task="boxes")
    for split in ("train", "val"):
        content = json.loads(Path(cfg[f"{split}_dataloader"].dataset.ann_file).read_text())
        assert tuple(entry["name"] for entry in content["categories"]) == cfg.classes
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        found = {(names[entry["category_id"]], tuple(entry["bbox"])) for entry in content["annotations"]}
        assert found == {("cat", (8, 8, 24, 16)), ("dog & co", (4, 4, 40, 40)), ("cat", (30, 20, 10, 12))}


def test_files_that_can_be_read_are_read_as_they_are(tmp_path: Path) -> None:
    roboflow_coco(tmp_path / "data")
    cfg = made(tmp_path / "data", task="masks")
    assert sorted(path.name for path in Path("out").iterdir()) == ["data.py"]
    assert cfg.train_dataloader.dataset.ann_file == (tmp_path / "data/train/_annotations.coco.json").as_posix()
    assert cfg.val_dataloader.dataset.data_prefix.img == "valid/"
    assert cfg.train_dataloader.dataset.metainfo.classes == ("cat", "dog & co")  # without Roboflow's heading
    assert cfg.model.roi_head.bbox_head.num_classes == cfg.model.roi_head.mask_head.num_classes == 2
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    entries = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert {instance["bbox_label"] for entry in entries for instance in entry["instances"]} == {0, 1}


def test_doubled_files_and_rare_classes_are_told(tmp_path: Path) -> None:
    coco_splits(tmp_path / "data", "val")
    found = find(Options(tmp_path / "data", Path("out")))
    assert len(found.same) == 3
    assert len(leaked(found.collection, found.same)) == 3
    assert rare_classes(found.collection, found.collection.classes) == [("cat", 2), ("dog & co", 1)]
    with Console(width=100, record=True, file=StringIO()) as console:
        tell.found(console, found)
    told = console.export_text()
    assert re.search(r"3 +pictures twice under different names: train/.* = val/", told)
    assert re.search(r"3 +of them in several splits", told)
    assert re.search(r"2 +classes with fewer than 10 objects in training: dog & co \(1\), cat \(2\)", told)


def test_odd_names_of_folders(tmp_path: Path) -> None:
    """The folder's name becomes a comment and a file's name, its path a value; none of them is source."""
    data = tmp_path / "Über 鸟 'v1.2' {{ fileBasename }}\nraise SystemExit"
    cvat_coco(data)
    cfg = made(data)
    assert [path.suffix for path in Path("out").iterdir() if path.is_file()] == [".py"]
    assert cfg.train_dataloader.dataset.data_root == f"{data.as_posix()}/"
    assert Path(cfg.train_dataloader.dataset.ann_file).is_file()


def test_the_palette_can_be_told_apart() -> None:
    first = colours()[:24]
    assert min(math.dist(one, other) for one, other in combinations(first, 2)) > 40


def test_a_name_is_data_and_not_source(tmp_path: Path) -> None:
    """mmengine replaces {{ ... }} in the text of a config, variables of the system included."""
    name = '{{$NOT_SET:"+open("owned","w").name+"}}'
    pictures(tmp_path / "data")
    content = coco_content()
    content["categories"][0]["name"] = name
    write_json(tmp_path / "data" / "labels.json", content)
    cfg = made(tmp_path / "data")
    assert cfg.classes == (name, "dog & co")
    assert not Path("owned").exists()
    assert eval(quoted("{{ fileDirname }}")) == "{{ fileDirname }}"


def test_nothing_is_overwritten_or_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voc(tmp_path / "data")
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="taken exists; nothing was written"):
        find(Options(tmp_path / "data", Path("taken")))
    with pytest.raises(InputError, match="lies in the folder of the data"):
        find(Options(tmp_path / "data", tmp_path / "data" / "out"))
    monkeypatch.setattr("mmvit.project.config.text", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "taken"]


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yolo(tmp_path / "data")
    picture(tmp_path / "data" / "images" / "val" / "alone.jpg")
    assert main(["data", "--seed", "0"]) == 0
    told = capsys.readouterr().out
    assert "data: YOLO text, 3 pictures, 3 objects, 2 classes" in told
    assert re.search(r"1 +pictures without labels, left aside: images/val/alone.jpg", told)
    assert re.search(r"splits +20% of the pictures for validation", told)
    assert "Doctor: all is well" in told
    assert re.search(r"mmvit train projects/data$", told, re.MULTILINE)
    assert re.search(r"mmvit predict projects/data 'data/images/train/a b.jpg'$", told, re.MULTILINE)
    assert main([str(tmp_path / "data")]) == 2
    assert "projects/data exists; nothing was written" in capsys.readouterr().err


@pytest.mark.stack
@pytest.mark.parametrize(
    ("tool", "options", "short"),
    [
        pytest.param(voc, {}, EPOCH, id="boxes"),
        pytest.param(TOOLS["cvat_masks"], {}, EPOCH, id="masks", marks=pytest.mark.slow),
        pytest.param(cvat_coco, dict(task="classes"), TWO, id="classes", marks=pytest.mark.slow),
    ],
)
def test_what_was_written_trains_and_predicts(tmp_path: Path, tool, options: dict, short: dict) -> None:
    tool(tmp_path / "data")
    cfg = made(tmp_path / "data", val=0.4, **options)
    train(TrainOptions(Path("out/data.py"), cfg_options={**SHORT, **short}))
    (checkpoint,) = [path for path in Path("out/run").glob("*.pth") if path.stem in ("epoch_1", "iter_2")]
    image = next((tmp_path / "data").rglob("*.jpg"))
    (result,) = Predictor("out/data.py", str(checkpoint))([str(image)])
    assert tuple(result.classes) == cfg.classes


@pytest.mark.stack
@pytest.mark.parametrize(
    ("tool", "arch", "head"),
    [
        (black_and_white, "van_b0", "upernet"),
        (black_and_white, "pvt_v2_b2", "segformer"),
        (black_and_white, "pvt_tiny", "segformer"),
        (voc, "volo_d2", "retinanet"),
        (voc, "van_b0", "atss"),
        (voc, "pvt_v2_b2", "gfl"),
    ],
)
def test_every_head_and_arch_gives_a_config_that_the_doctor_passes(tmp_path: Path, tool, arch: str, head: str) -> None:
    """Also those for which mmvit ships no config: the recipe is then written beside."""
    tool(tmp_path / "data")
    made(tmp_path / "data", arch=arch, head=head)
    shipped = (HOME / "configs" / f"{head}_{arch}_{'coco' if tool is voc else 'ade20k'}.py").is_file()
    assert sorted(path.suffix for path in Path("out").iterdir() if path.is_file()) == [".py"] * (1 if shipped else 2)
    found = list(examine_config("out/data.py", {}, False))
    assert [str(finding) for finding in found if finding.verdict == "wrong"] == []
    assert any(finding.subject == "model" for finding in found)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_label_maps_are_read_or_written(tmp_path: Path, mode: str) -> None:
    """An index PNG is read as it is, colours are written as numbers; either way a run sees the same labels."""
    from mmseg.datasets.transforms import LoadAnnotations

    label_maps(tmp_path / "data", mode)
    cfg = made(tmp_path / "data")
    assert (Path("out") / "labels").exists() == (mode == "RGB")
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    entry = dataset.get_data_info(0)
    assert Path(entry["img_path"]).is_file()
    labels = LoadAnnotations()(entry)["gt_seg_map"]
    assert [labels[8, 0], labels[24, 0], labels[40, 0]] == [0, 1, 2]

"""What a run reports as it begins and goes on: launchers, damaged checkpoints, figures that rank nothing, copied work dirs."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from logging import LogRecord
from logging.handlers import BufferingHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from safetensors.torch import save_file

import mmvit
from mmvit.compat.python import sha256_of
from mmvit.config.files import open_config
from mmvit.config.work_dirs import LAST, best_checkpoint, last_checkpoint
from mmvit.engine import configuration  # whose names pytest would take for tests
from mmvit.engine.checking import best_faults
from mmvit.engine.checkpoints import CheckpointHook
from mmvit.engine.launch import require_alone, require_launcher
from mmvit.engine.results import Results, Validation
from mmvit.engine.start import Start
from mmvit.errors import InputError
from mmvit.weights.archives import implausible, read_checkpoint
from mmvit.weights.loading import load_pretrained

pytestmark = [pytest.mark.stack, pytest.mark.once]
FOUND_BY = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")


def test_a_launcher_that_started_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOUND_BY:
        monkeypatch.delenv(name, raising=False)
    require_launcher("none")
    with pytest.raises(InputError, match=r"MASTER_ADDR, MASTER_PORT not set, .* Start with torchrun"):
        require_launcher("pytorch")


def test_processes_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOUND_BY:
        monkeypatch.delenv(name, raising=False)
    require_alone("none")
    monkeypatch.setenv("WORLD_SIZE", "2")  # as clusters export it for jobs of one process, too
    require_alone("none")
    monkeypatch.setenv("RANK", "1")
    require_alone("pytorch")
    with pytest.raises(InputError, match=r"^2 processes were started .* Add --launcher pytorch"):
        mmvit.train("retinanet_pvt_tiny_coco")


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        for name, value in zip(FOUND_BY, ("0", "2", "127.0.0.1", str(port)), strict=False):
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match=rf"^MASTER_PORT={port} cannot be used \("):
            require_launcher("slurm")
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        require_launcher("pytorch")  # torchrun itself listens there


@pytest.mark.parametrize("place", [0.3, 0.45, 0.7])
def test_flipped_bits(tmp_path: Path, place: float) -> None:
    file = tmp_path / "own.pth"
    torch.save({f"{number}.weight": torch.randn(64, 64) for number in range(8)}, file)
    read_checkpoint(file)
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 64
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"own\.pth is damaged: the bytes of own/data/\d do not have the checksum beside them"):
        read_checkpoint(file)


def test_values_beyond_any_trained_weight(tmp_path: Path) -> None:
    state = dict(fine=torch.randn(9), count=torch.tensor(10**9), none=torch.zeros(0))
    assert implausible(state, "own.safetensors") is None
    told = implausible({**state, "norm.weight": torch.tensor([1.0, 7e36])}, "own.safetensors")
    assert told.startswith("own.safetensors: norm.weight has a value of 7.0e+36, beyond any trained weight")
    backbone = mmvit.create("pvt_v2_b0")
    damaged = {name: value.clone() for name, value in backbone.state_dict().items()}
    damaged["stages.0.norm.weight"][0] = 7e36
    save_file(damaged, tmp_path / "own.safetensors")
    assert "stages.0.norm.weight has a value of 7.0e+36" in str(load_pretrained(backbone, tmp_path / "own.safetensors"))


@pytest.mark.parametrize("where", ["its name", "own.safetensors.sha256", "SHA256SUMS", "an old file's name"])
def test_digests_of_files_without_checksums(tmp_path: Path, where: str) -> None:
    file, tensors = tmp_path / "own.safetensors", {"weight": torch.randn(64, 64)}
    if where.startswith("an old"):
        file = file.with_suffix(".pth")
        torch.save(tensors, file, _use_new_zipfile_serialization=False)
    else:
        save_file(tensors, file)
    digest = sha256_of(file)
    if where.endswith("name"):
        file = file.rename(file.with_stem(f"own-{digest[:8]}"))
    else:
        (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  other.safetensors\n")
        (tmp_path / where).write_text(f"{digest} *{file.name}\n")
    read_checkpoint(file)
    content = bytearray(file.read_bytes())
    content[-600] ^= 64
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"and {'its name' if where.endswith('name') else where} says {digest[:8]}"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("value", "verdicts"),
    [(0.0, []), (-1.0, ["doubtful"]), (float("nan"), ["doubtful"]), (None, ["doubtful"]), (torch.ones(2), ["wrong"])],
)
def test_figures_that_rank_nothing(value: Any, verdicts: list[str]) -> None:
    assert [finding.verdict for finding in best_faults("coco/bbox_mAP", {"coco/bbox_mAP": value})] == verdicts


def test_work_dirs_that_were_moved_or_copied(tmp_path: Path) -> None:
    """`last_checkpoint` holds a path: of a folder that is no more, or of the training that this one is a copy of."""
    original, copied = tmp_path / "original", tmp_path / "copied"
    for folder in (original, copied):
        folder.mkdir()
        (folder / "iter_2.pth").touch()
        (folder / LAST).write_text(str(original / "iter_2.pth"))
    assert last_checkpoint(copied) == str(copied / "iter_2.pth")
    (copied / "iter_2.pth").unlink()
    assert last_checkpoint(copied) == str(original / "iter_2.pth"), "checkpoints in a folder of their own"


def test_the_best_checkpoint_is_that_of_the_results(tmp_path: Path) -> None:
    """Not the newest `best_*.pth`, which may be the best by another metric, or of a training before."""
    for name in ("best_s_early_iter_2.pth", "best_s_up_iter_4.pth", "iter_4.pth"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (len(name), len(name)))
    assert best_checkpoint(tmp_path) == str(tmp_path / "best_s_early_iter_2.pth"), "the newest, where there are no results"
    results = Results(str(tmp_path), "c.py", checkpoint="/moved/iter_4.pth", best="/moved/best_s_up_iter_4.pth")
    results.write()
    assert best_checkpoint(tmp_path) == str(tmp_path / "best_s_up_iter_4.pth")
    results.best = None
    results.write()
    assert best_checkpoint(tmp_path) == str(tmp_path / "iter_4.pth"), "of a training without save_best"
    results.checkpoint = None
    results.write()
    assert best_checkpoint(tmp_path) == str(tmp_path / "best_s_early_iter_2.pth"), "only tests wrote the results"


@contextmanager
def heard() -> Iterator[list[LogRecord]]:
    """What is logged meanwhile; mmengine's loggers hand nothing on."""
    logger, handler = MMLogger.get_current_instance(), BufferingHandler(1000)
    logger.addHandler(handler)
    try:
        yield handler.buffer
    finally:
        logger.removeHandler(handler)


def test_resuming_where_a_training_left_no_checkpoint(tmp_path: Path) -> None:
    options = configuration.TrainOptions("fpn_van_b0_ade20k", tmp_path, resume="auto")
    results = Results(str(tmp_path), "x.py", tests={"x.pth": {"score": 9.0}})
    for validations, count in (([], 0), ([Validation(1, 1, 0.5, {"score": 9.0})], 1)):  # at first, only a test has written
        results.validations = validations
        results.write()
        with heard() as said:
            assert configuration.train_config(options).load_from is None
        assert ["no checkpoint to resume from: this" in str(record.msg) for record in said] == [True] * count


def checkpoint_of(folder: Path, *classes: str) -> Start:
    torch.save(dict(meta=dict(dataset_meta=dict(classes=classes)), state_dict={}), folder / "iter_2.pth")
    return Start(str(folder / "iter_2.pth"))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("theirs", "resume", "told"),
    [
        (("b", "c", "a"), True, "wrong"),
        (("b", "c", "a"), False, "order"),
        (("a", "b", "d"), True, "If they are other classes"),
        (("a", "b", "c"), True, ""),
        (("b", "a"), True, ""),
        ((), True, ""),
    ],
)
def test_classes_in_another_order_than_the_checkpoints(
    tmp_path: Path, split: str, theirs: tuple[str, ...], resume: bool, told: str
) -> None:
    dataset = dict(type="CocoDataset", metainfo=dict(classes=("a", "b", "c")))
    loader = dict(dataset=dict(type="RepeatDataset", dataset=dataset))
    cfg = Config({f"{split}_dataloader": loader, "default_scope": "mmdet", "resume": resume and split == "train"})
    start = checkpoint_of(tmp_path, *theirs)
    with heard() as records:
        if told == "wrong" or (told == "order" and split == "test"):
            first = f"its classes are not those of {split}_dataloader.dataset.dataset: number 0 is b in the checkpoint and a"
            with pytest.raises(InputError, match=f"{first} .* 3 of 3: the same names in another order.* order: b, c, a$"):
                start.compare_classes(cfg, split)
        else:
            start.compare_classes(cfg, split)
    lines = [record.getMessage() for record in records]
    assert len(lines) == (told not in ("", "wrong") and not (told == "order" and split == "test"))
    assert all(told in line for line in lines)


def test_weights_that_do_not_fit_are_told(tmp_path: Path) -> None:
    """mmengine loads what fits, and the rest begins at random."""
    torch.save(dict(state_dict={"0.weight": torch.ones(2, 2), "0.bias": torch.ones(3)}), tmp_path / "a.pth")
    run = SimpleNamespace(model=torch.nn.Sequential(torch.nn.Linear(2, 2)), cfg=Config())
    with heard() as records:
        Start(str(tmp_path / "a.pth")).fit(run, exactly=False)  # type: ignore[arg-type]
    told = "without 1 tensor of the model that it lacks or has in another shape: 0.bias"
    assert [record.getMessage().partition(", ")[2] for record in records if hasattr(record, "first_line")] == [told]


IOU, COCO, VOC = dict(type="IoUMetric"), dict(type="CocoMetric"), dict(type="VOCMetric")
BOTH = dict(type="MultiDatasetsEvaluator", metrics=[COCO, COCO], dataset_prefixes=["one", "two"])
PLAIN = dict(type="Evaluator", metrics=COCO)


def evaluators(folder: Path, config: str, given: Any, **options: Any) -> list[dict]:
    """The metrics of a test whose config has another evaluator."""
    (folder / "a.pth").touch()
    evaluator = repr(dict(given, _delete_=True) if isinstance(given, dict) else given)
    (folder / "c.py").write_text(f"_base_ = 'mmvit::{config}.py'\ntest_evaluator = {evaluator}\n")
    cfg = configuration.test_config(configuration.TestOptions(folder / "c.py", folder / "a.pth", folder, **options))
    parts = cfg.test_evaluator
    parts = parts.get("metrics", parts) if isinstance(parts, dict) else parts
    return parts if isinstance(parts, list) else [parts]


@pytest.mark.parametrize("given", [[IOU, dict(IOU, prefix="d")], dict(type="Evaluator", metrics=[IOU]), IOU])
def test_label_maps_with_any_form_of_evaluator(tmp_path: Path, given: Any) -> None:
    parts = evaluators(tmp_path, "fpn_pvt_tiny_ade20k", given, out=Path("maps"))
    assert [part.get("output_dir") for part in parts] == ["maps", None][: len(parts)]


@pytest.mark.parametrize(
    ("given", "prefixes"), [(COCO, ["r"]), ([COCO, COCO], ["r_0", "r_1"]), (BOTH, ["r_one", "r_two"]), (PLAIN, ["r"])]
)
def test_no_labels_with_any_form_of_evaluator(tmp_path: Path, given: Any, prefixes: list[str]) -> None:
    parts = evaluators(tmp_path, "retinanet_pvt_tiny_coco", given, out=Path("r"), no_labels=True)
    assert [(part.get("outfile_prefix"), part.get("format_only")) for part in parts] == [(prefix, True) for prefix in prefixes]


def test_outputs_that_nothing_writes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--no-labels: test_evaluator\.1 is VOCMetric, which cannot .* CocoMetric"):
        evaluators(tmp_path, "retinanet_pvt_tiny_coco", [COCO, VOC], out=Path("r"), no_labels=True)
    with pytest.raises(InputError, match="--out m: no test_evaluator writes label maps"):
        evaluators(tmp_path, "fpn_pvt_tiny_ade20k", dict(type="DumpResults"), out=Path("m"))
    with pytest.raises(InputError, match=r"--out r.json: expected a file that ends with .pkl"):
        evaluators(tmp_path, "retinanet_pvt_tiny_coco", COCO, out=Path("r.json"))


def test_a_copy_removes_nothing_of_its_original(tmp_path: Path) -> None:
    original, copied = tmp_path / "run_2", tmp_path / "run"  # the one's path begins like the other's
    for folder in (original, copied):
        folder.mkdir()
        (folder / "best_mIoU_iter_2.pth").touch()
    runner = Runner(torch.nn.Sequential(), str(copied), experiment_name=f"copy_{tmp_path.name}")
    runner.message_hub.update_info("best_ckpt", str(original / "best_mIoU_iter_2.pth"))
    runner.message_hub.update_info("best_score", 0.5)
    hook = CheckpointHook(interval=1, save_best="mIoU", rule="greater")
    hook.before_train(runner)
    assert hook.best_ckpt_path == str(copied / "best_mIoU_iter_2.pth")
    hook._remove([str(original / "best_mIoU_iter_2.pth"), str(copied / "best_mIoU_iter_2.pth")])
    assert (original / "best_mIoU_iter_2.pth").is_file()
    assert not (copied / "best_mIoU_iter_2.pth").is_file()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("absent_module", "custom_imports names absent_module, which Python does not find. Set PYTHONPATH"),
        (
            "needy_module",
            "custom_imports names needy_module, which fails as it is imported: ModuleNotFoundError: No module named 'absent_",
        ),
    ],
)
def test_custom_imports_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, words: str) -> None:
    (tmp_path / "needy_module.py").write_text("import absent_part")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own.py").write_text(f"custom_imports = dict(imports=['{module}'])")
    with pytest.raises(InputError) as raised:
        open_config(tmp_path / "own.py")
    assert words in str(raised.value)

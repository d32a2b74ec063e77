"""What a run reports as it begins and goes on: launchers, damaged checkpoints, figures that rank nothing, copied work dirs."""

import socket
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from safetensors.torch import save_file

import mmvit
from mmvit.compat.python import sha256_of
from mmvit.config.files import open_config
from mmvit.config.work_dirs import LAST, last_checkpoint
from mmvit.engine.checking import best_faults
from mmvit.engine.checkpoints import CheckpointHook
from mmvit.engine.launch import require_launcher
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


@pytest.mark.parametrize(("value", "verdicts"), [(0.0, []), (-1.0, ["doubtful"]), (float("nan"), ["doubtful"])])
def test_figures_that_rank_nothing(value: float, verdicts: list[str]) -> None:
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

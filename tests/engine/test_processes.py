"""Several processes, on CPUs: gradients, synchronised norms, evaluation, sharding, slurm, and what happens when one fails.

What can be asked of two processes is asked in one start of them, because imports take seconds; each test looks at one answer.
"""

import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from jobs import write_jobs
from makers import HOME
from two_processes import CASES, NORMED, PATIENCE, WAYS, as_one_of_two, free_port, write_model

from benchmarks.stress import differing, outcome
from mmvit.compat.versions import SHARDING
from mmvit.engine.configuration import TestOptions, TrainOptions
from mmvit.engine.launch import test as evaluate
from mmvit.engine.launch import train
from mmvit.errors import InputError

pytestmark = pytest.mark.stack
TestOptions.__test__ = False
evaluate.__test__ = False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    write_jobs(folder, 5)
    bad = folder / "data" / "coco" / "bad"
    shutil.copytree(folder / "data" / "coco" / "train2017", bad)
    (bad / "000000000003.jpg").write_bytes(b"no image")
    for name in ("detector", "segmenter"):
        write_model(folder, name)
    scontrol = folder / "scontrol"
    scontrol.write_text('#!/bin/sh\ntest "$*" = "show hostnames node[1-2]" && echo localhost && echo node2\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, Any]:
    ports = [free_port() for _ in range(12)]
    torch.multiprocessing.spawn(as_one_of_two, (folder, ports), nprocs=2)
    failures = [torch.load(folder / f"failures_{rank}.pt") for rank in range(2)]
    return torch.load(folder / "answers.pt") | {name: [found[name] for found in failures] for name in failures[0]}


@pytest.mark.parametrize(("variant", "family"), CASES)
def test_gradients_of_two_are_those_of_one(variant: str, family: str, answers: dict[str, Any]) -> None:
    assert answers["gradients"][variant, family] < 2e-5


@pytest.mark.parametrize("family", [family.name for family in NORMED])
def test_synchronised_norms_keep_the_statistics_of_all(family: str, answers: dict[str, Any]) -> None:
    assert answers["statistics"][family] < 1e-6


@pytest.mark.parametrize("way", WAYS)
def test_statistics_are_the_means_of_all_processes(way: str, folder: Path, answers: dict[str, Any]) -> None:
    """What is validated and what is saved is one model."""
    first, second = (torch.load(folder / f"statistics_{rank}.pt")[way] for rank in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    for number, mean in enumerate((0.05, 0.05, 0.025)):  # momentum 0.1, means of the images: 0 and 1; the last an average
        assert torch.allclose(first[f"{number}.0.running_mean"], torch.full((3,), mean))


def test_all_processes_know_what_one_found(answers: dict[str, Any]) -> None:
    """Seen from the first one, which found nothing."""
    assert answers["agreed"] == (True, False, signal.SIGTERM)


def test_different_numbers_of_batches_are_refused(answers: dict[str, Any]) -> None:
    """In a training over epochs, where one process would wait for the other."""
    expected = {"three and two": True, "one and one": False, "by shape": False, "by shape, whole": True}
    assert answers["refused"] == expected


@pytest.mark.parametrize(("name", "metric"), [("detector", "coco/bbox_mAP_50"), ("segmenter", "mIoU")])
def test_metrics_of_two_are_those_of_one(name: str, metric: str, answers: dict[str, Any]) -> None:
    """Five images: one of the processes gets one twice, which must not count."""
    alone = answers[name]["none"]
    assert alone[metric] > 0
    figures = {key for key in alone if "time" not in key}
    for launcher in set(answers[name]) - {"none"}:
        assert {key: answers[name][launcher][key] for key in figures} == {key: alone[key] for key in figures}


@pytest.mark.parametrize("launcher", ["pytorch", "slurm"])
def test_every_image_is_gathered_once(launcher: str, folder: Path, answers: dict[str, Any]) -> None:
    alone, gathered = (pickle.loads((folder / f"detector_{name}.pkl").read_bytes()) for name in ("none", launcher))
    assert [image["img_id"] for image in gathered] == [image["img_id"] for image in alone] == [0, 1, 2, 3, 4]
    for one, other in zip(alone, gathered, strict=True):
        assert torch.equal(one["pred_instances"]["scores"], other["pred_instances"]["scores"])


def checkpoint(folder: Path, work_dir: str, iteration: int = 4) -> dict[str, Any]:
    return torch.load(folder / work_dir / f"iter_{iteration}.pth", weights_only=True)


@pytest.mark.needs(SHARDING)
def test_sharded_training_is_unsharded_training(folder: Path, answers: dict[str, Any]) -> None:
    """With the gradient clipped, and rates and decays by name and kind of parameter."""
    start = torch.load(folder / "detector.pth", weights_only=True)["state_dict"]
    whole, sharded = (checkpoint(folder, name) for name in ("whole", "sharded"))
    assert list(sharded["state_dict"]) == list(whole["state_dict"])
    moved = max(float((value - start[name]).abs().max()) for name, value in whole["state_dict"].items())
    far = max(float((sharded["state_dict"][name] - value).abs().max()) for name, value in whole["state_dict"].items())
    assert far < 1e-3 * moved
    rates = [
        [(group["lr"], group["weight_decay"], len(group["params"])) for group in saved["optimizer"]["param_groups"]]
        for saved in (whole, sharded)
    ]
    assert rates[0] == rates[1]
    assert len({decay for _, decay, _ in rates[0]}) == 2


def test_training_resumes_bit_for_bit(folder: Path, answers: dict[str, Any]) -> None:
    assert differing(outcome(folder / "whole"), outcome(folder / "stopped")) == []


@pytest.mark.needs(SHARDING)
def test_sharded_training_resumes_bit_for_bit(folder: Path, answers: dict[str, Any]) -> None:
    straight, resumed = (checkpoint(folder, name) for name in ("sharded", "resumed"))
    assert checkpoint(folder, "resumed", 2)["meta"]["iter"] == 2  # written again after the validation
    assert straight["meta"]["iter"] == resumed["meta"]["iter"] == 4
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in straight["state_dict"].items())
    assert straight["optimizer"]["base_param_settings"]["lr"] == resumed["optimizer"]["base_param_settings"]["lr"] != 0.01
    for name, averages in straight["optimizer"]["state"].items():
        assert all(torch.equal(value, resumed["optimizer"]["state"][name][key]) for key, value in averages.items())


@pytest.mark.needs(SHARDING)
def test_sharded_checkpoint_is_evaluated_by_one_process(folder: Path, answers: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.chdir(folder)
    metrics = evaluate(TestOptions(Path("sharded.py"), Path("sharded/iter_4.pth"), Path("test_sharded")))
    assert "coco/bbox_mAP" in metrics


@pytest.mark.slow
def test_a_killed_process_ends_the_job(folder: Path) -> None:
    endless = ["train_cfg.max_iters=100000", "train_cfg.val_interval=100000", "default_hooks.checkpoint.interval=100000"]
    words = ["detector.py", "--launcher", "pytorch", "--work-dir", "killed", "--cfg-options", *endless]
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with subprocess.Popen(
        [*agent, HOME / "tools" / "train.py", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as job:
        assert any("Iter(train) [     3/" in line for line in job.stdout)
        processes = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        assert len(processes) == 2
        os.kill(int(processes[1]), signal.SIGKILL)
        try:
            said, _ = job.communicate(timeout=PATIENCE)
        finally:
            job.kill()
    assert job.returncode not in (0, None)
    assert "exitcode  : -9" in said
    assert not any(Path(f"/proc/{process}").exists() for process in processes)


def test_a_bad_image_of_one_process_ends_both(answers: dict[str, Any]) -> None:
    """Images 0, 2, 4 are the first process's, 1 and 3 the second's."""
    (first, _), (second, said) = answers["bad image"]
    assert second == 2
    assert said.strip().splitlines()[-1].startswith("error: image data/coco/bad/000000000003.jpg: it cannot be decoded")
    assert first not in (0, None)


def test_missing_data_end_both(answers: dict[str, Any]) -> None:
    """The first process of a machine alone looks at the data."""
    (first, said), (second, _) = answers["missing data"]
    assert first == 2
    assert "error: dataset not found" in said
    assert second not in (0, None)


def test_slurm_without_srun(folder: Path) -> None:
    options = TrainOptions(folder / "detector.py", folder / "alone", launcher="slurm")
    with pytest.raises(InputError, match=r"--launcher slurm: expected srun's variables"):
        train(options)

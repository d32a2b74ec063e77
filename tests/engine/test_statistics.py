"""Running statistics of batch norms on two processes: what is validated and what is saved is one model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.logging import MessageHub
from torch import nn

from mmvit.engine.checkpoints import CheckpointHook, save_interrupted

pytestmark = pytest.mark.stack

WAYS = ("validated", "saved", "interrupted")


def work(rank: int, folder: str) -> None:
    """Note the statistics of a process whose images differ from the other's, as a validation or a file has them."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found: dict[str, dict[str, torch.Tensor]] = {}
    for way in WAYS:
        model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm1d(2, track_running_stats=False))
        model[0](torch.full((2, 3, 2, 2), float(rank)))

        def noted(*_: Any, model: nn.Module = model, way: str = way, **__: Any) -> None:
            found[way] = {name: value.clone() for name, value in model.state_dict().items()}

        hub, hook = MessageHub.get_instance(f"{way}{rank}"), CheckpointHook(interval=1)
        hook.out_dir, hook.file_backend = folder, LocalBackend()
        runner: Any = SimpleNamespace(model=model, work_dir=folder, message_hub=hub, save_checkpoint=noted, hooks=[hook])
        runner.epoch = runner.iter = 1
        runner.logger = SimpleNamespace(warning=lambda text: None)
        if way == "validated":
            hook.before_val(runner)
            noted()
        elif way == "saved":
            hook._save_checkpoint_with_step(runner, 1, {})
        else:
            save_interrupted(runner)
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("statistics")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(Path(folder, f"{rank}.pt")) for rank in range(2)]


@pytest.mark.parametrize("way", WAYS)
def test_statistics_are_the_means_of_all_processes(way: str, found: list[dict]) -> None:
    first, second = (answers[way] for answers in found)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.allclose(first["0.running_mean"], torch.full((3,), 0.05))  # momentum 0.1; means of the images: 0 and 1

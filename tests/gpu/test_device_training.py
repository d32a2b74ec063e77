"""Each head trains on a device, in float32 and with mixed precision, and resumed training is bit-identical."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.stress import differing, outcome
from mmvit.config.files import config_file
from mmvit.demo.dataset import build
from mmvit.demo.recipe import DEMO, ROOT
from mmvit.demo.spec import DemoSpec
from mmvit.engine.configuration import Amp, TrainOptions
from mmvit.engine.launch import train

pytestmark = [pytest.mark.gpu, pytest.mark.stack, pytest.mark.once, pytest.mark.slow]

CONFIGS = (
    "retinanet_pvt_tiny_coco",
    "mask_rcnn_pvt_v2_b0_coco",
    "fpn_pvt_v2_b0_ade20k",
    "segformer_shunted_small_ade20k",
    "upernet_van_b0_ade20k",
    "fpn_volo_d1_ade20k",  # a learnt position table, resized by bicubic interpolation
    "retinanet_t2t_vit_14_coco",
)
ON_CPU = ("fpn_pvt_v2_b0_ade20k",)
VARIANT = DEMO._replace(prepare=lambda: None, hooks=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a small demo dataset, which is the working directory meanwhile; afterwards nothing is deterministic."""
    folder = tmp_path_factory.mktemp("device_training")
    build(folder / ROOT, DemoSpec(train_images=24, val_images=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize("amp", [None, "float16", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_resumed_training_ends_with_the_same_bits(name: str, amp: Amp | None, folder: Path, device: str, quick: bool) -> None:
    if device == "cpu" and (amp == "float16" or name not in ON_CPU):
        pytest.skip("float16 needs a GPU, and the other heads more time than a CPU has")
    if (device == "cuda") != torch.cuda.is_available():
        pytest.skip("trainings take the GPU where there is one")
    iterations = 4 if quick else 20

    def run(part: str, resume: str | None = None) -> Path:
        options = {
            "experiment_name": f"{name}_{amp}_{part}",
            "randomness": dict(seed=0, deterministic=True),
            "train_cfg.max_iters": iterations,
            "train_cfg.val_interval": iterations,
            "default_hooks.checkpoint.interval": iterations // 2,
            "default_hooks.checkpoint.max_keep_ckpts": 2,
            "default_hooks.logger.interval": 1,
            "train_dataloader.batch_size": 2,
            "train_dataloader.num_workers": 0,
            "val_dataloader.num_workers": 0,
            "val_dataloader.batch_size": 2,
        }
        work_dir = folder / f"{name}_{amp}_{part}"
        train(TrainOptions(config_file(name), work_dir, resume, amp, variant=VARIANT, cfg_options=options))
        return work_dir

    whole = run("whole")
    expected = outcome(whole)
    losses = [value for key, value in expected.items() if key.startswith("train/loss.")]
    assert len(losses) == iterations
    assert all(map(math.isfinite, losses))
    resumed = run("resumed", str(whole / f"iter_{iterations // 2}.pth"))
    assert differing(expected, outcome(resumed)) == []

"""A peer of docs/results.md: smp's Unet, from random weights, on our config for street scenes.

    pip install segmentation-models-pytorch
    OMP_NUM_THREADS=2 python -m benchmarks.trained_unet --iterations 800

Pictures, crops, flips, colours, batch, optimiser, rate, loss and evaluation are those of the config. The sides of its crops are
multiples of 32, as Unet needs them.
"""

import argparse
import time
from pathlib import Path

import mmvit  # noqa: F401  (its compat must be in place before mmseg is imported)

# isort: split
import segmentation_models_pytorch as smp
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from segmentation_models_pytorch.base import SegmentationHead
from torch import Tensor, nn

from mmvit.config.files import load_config

CONFIG, WIDTH = Path("configs/examples/segformer_pvt_v2_b0_camvid.py"), 16


@MODELS.register_module()
class Unet(nn.Module):
    """smp's Unet without its head: images (N, 3, H, W) to one map (N, 16, H, W)."""

    def __init__(self, encoder: str) -> None:
        super().__init__()
        whole = smp.Unet(encoder, encoder_weights=None)
        self.encoder, self.decoder = whole.encoder, whole.decoder

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.decoder(self.encoder(images))]


@MODELS.register_module()
class UnetHead(BaseDecodeHead):
    """smp's head, with the losses of mmseg."""

    def __init__(self, **options: object) -> None:
        super().__init__(in_channels=WIDTH, channels=WIDTH, in_index=0, **options)
        self.conv_seg = SegmentationHead(WIDTH, self.out_channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.conv_seg(maps[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--encoder", default="resnet34")
    parser.add_argument("--iterations", type=int, default=800, help="of batches of 4")
    parser.add_argument("--work-dir", default="unet")
    asked = parser.parse_args()
    runner = Runner.from_cfg(adapted(load_config(CONFIG), asked.encoder, asked.iterations, asked.work_dir))
    print(f"{sum(p.numel() for p in runner.model.parameters()) / 1e6:.1f} M parameters")
    began = time.process_time()
    runner.train()
    print(f"{(time.process_time() - began) / 60:.0f} minutes of this processor, validations included")
    runner.test()


def adapted(cfg: Config, encoder: str, iterations: int, work_dir: str) -> Config:
    """Return the config with Unet instead of our network, ten validations, and its schedule as long as asked for."""
    head = cfg.model.decode_head
    cfg.model.backbone = dict(type="Unet", encoder=encoder)
    cfg.model.decode_head = dict(type="UnetHead", num_classes=head.num_classes, loss_decode=head.loss_decode)
    cfg.model.data_preprocessor.test_cfg = dict(size_divisor=32)
    cfg.train_cfg.update(max_iters=iterations, val_interval=iterations // 10)
    cfg.param_scheduler[-1].end = iterations
    cfg.default_hooks.checkpoint.interval = iterations // 10
    cfg.update(work_dir=work_dir, randomness=dict(seed=0))
    return cfg


if __name__ == "__main__":
    main()

"""Contract of every backbone of this package.

A `Pyramid` turns images (B, in_channels, H, W) into a tuple of maps (B, C_i, ceil(H / s_i), ceil(W / s_i)), one for each of
`out_indices`, for every H, W >= 32. `out_channels` and `out_strides` give the shapes without running it.

A family derives from it, builds its `stages` in the constructor, ends the constructor with `self.finish()`, and defines
`init_parts` and `record`, which says what the papers and the released files say.

There are two kinds of networks. Four stages, each at its own stride, give the pyramid as they are. A network whose blocks stay
at one stride (VOLO, T2T-ViT) is *tapped* four times, and each tap is brought to its level's stride (`layers.parts.Tap`). The
layers that this adds are fresh: no released file has them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypedDict, cast

import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.model import BaseModule, initialize
from torch import Tensor, nn
from typing_extensions import Self

from .arguments import check_indices, check_options, is_pretrained, listed
from .errors import InputError
from .layers.parts import checkpointed, tracks_statistics
from .layers.stages import StageBase
from .registry import MODELS
from .weights import loading
from .weights.released import BACKBONES, Record, register

STRIDES = (4, 8, 16, 32)
LAST = len(STRIDES) - 1  # the level whose tap has a released norm
LOADING = ("checkpoint", "prefix", "sha256")  # options of an `init_cfg` that loads a file
SMALLEST = 32  # pixels a side: one token of the coarsest map


class PyramidOptions(TypedDict, total=False):
    """Keywords that every backbone takes besides its own; see `Pyramid`."""

    in_channels: int
    out_indices: Iterable[int]
    frozen_stages: int
    norm_eval: bool
    with_cp: bool
    norm_eps: float | None
    contiguous_maps: bool
    init_cfg: dict | list[dict] | None


Part = nn.Module | nn.Parameter


class Layer(NamedTuple):
    """Step of a network's depth: a block and the parts beside it. The stem has no block."""

    block: nn.Module | None
    around: list[Part]

    def parameters(self) -> Iterator[nn.Parameter]:
        for part in (self.block, *self.around):
            if isinstance(part, nn.Parameter):
                yield part
            elif part is not None:
                yield from part.parameters()


class Pyramid(BaseModule):
    """Base of the backbones.

    Args:
        channels: channels of the four levels.
        strides: strides of the four levels.
        in_channels: channels of the images.
        out_indices: which of the four levels to return, rising; stages that no level needs are not built.
        frozen_stages: number of leading stages to freeze; the stem counts with the first. Frozen stages get no gradient and
            stay in eval mode. The fresh layers of a tap go on learning.
        norm_eval: keep batch norms in eval mode under `train()`.
        with_cp: activation checkpointing, block by block, in training.
        contiguous_maps: return maps in torch's default layout instead of channels-last, for heads that call `view` on them.
        norm_eps: epsilon of all layer norms; None keeps the authors'. mmdet and transformers have 1e-6 throughout, and loading
            a file of theirs sets it.
        init_cfg: `dict(type='Pretrained', checkpoint=PATH_OR_URL)` loads a released file exactly (see `weights.loading`);
            other types are mmengine's initialisers.

    Attributes:
        out_channels, out_strides: channels and stride of each returned map, aligned with `out_indices`.
        level_channels, level_strides: those of all four levels, also of such as are not built.

    Raises:
        InputError: impossible `out_indices` or `frozen_stages`, or an option that the family does not take.
    """

    stages: nn.ModuleList  # of `StageBase`
    tapped: ClassVar[bool] = False  # whether levels have parameters of their own: without a loss on them, they get no gradient
    head: nn.Linear  # of a classifier only
    pad_to: ClassVar[int] = 1  # images are zero-padded at the bottom and right to a multiple of this
    record: ClassVar[Record]
    _is_init: bool  # mmengine's flag: whether init_weights was called

    def __init_subclass__(cls, **options: Any) -> None:
        """Register a family; a subclass without a `record` of its own is a user's variant of one."""
        super().__init_subclass__(**options)
        if "record" in vars(cls):
            register(cls)

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Check the names of the options first, because families use some values before calling this class's constructor."""
        check_options(cls, options)
        return super().__new__(cls)

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        strides: tuple[int, ...] = STRIDES,
        in_channels: int = 3,
        out_indices: Iterable[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_eps: float | None = None,
        contiguous_maps: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if frozen_stages not in range(-1, len(STRIDES) + 1):
            raise InputError(f"frozen_stages={frozen_stages!r}: expected -1 (none) to {len(STRIDES)} (all)")
        self.in_channels = in_channels
        self.out_indices = check_indices(out_indices, len(STRIDES))
        self.level_channels = tuple(channels)
        self.level_strides = tuple(strides)
        self.out_channels = tuple(channels[level] for level in self.out_indices)
        self.out_strides = tuple(strides[level] for level in self.out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.norm_eps = norm_eps
        self.contiguous_maps = contiguous_maps

    def forward_maps(self, images: Tensor) -> Sequence[Tensor] | Mapping[int, Tensor]:
        """Return the map of each level, at least those of `out_indices`, for padded images (B, in_channels, H', W')."""
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1], self.run_block))
        return maps[1:]

    def layers(self) -> list[Layer]:
        """Return the layers in order: the stem, then the blocks. What belongs to no layer is fresh: taps and laterals.

        Patch embeddings, downsamplings and position tables belong to the first block of their stage, in the first stage to
        the stem; the norm of a stage's output belongs to its last block.
        """
        stem: list[Part] = []
        layers = []
        for number, stage in enumerate(cast(Iterable[StageBase], self.stages)):
            blocks = [Layer(block, []) for block in stage.blocks]
            before = blocks[0].around if number else stem
            before += stage.parameters(recurse=False)
            for name, part in stage.named_children():
                if name == "norm":
                    blocks[-1].around.append(part)
                elif part is not stage.blocks:
                    before.append(part)
            layers += blocks
        return [Layer(None, stem), *layers]

    def stage_parts(self, stage: int) -> Iterable[nn.Module]:
        """Return the modules of a stage that `frozen_stages` freezes; the stem counts with the first stage."""
        return [self.stages[stage]]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return maps (B, out_channels[i], ceil(H / out_strides[i]), ceil(W / out_strides[i])) of images.

        Args:
            images: (B, in_channels, H, W).

        Raises:
            ValueError: images of another rank or channel count, or smaller than 32 pixels on a side.
        """
        self.check(images)
        height, width = images.shape[-2:]
        maps = self.forward_maps(self.pad(images))
        cut = [  # as convolutions count their outputs: torch before 2.12 exports no other form of rounding up
            maps[level][..., : (height - 1) // stride + 1, : (width - 1) // stride + 1]
            for level, stride in zip(self.out_indices, self.out_strides, strict=True)
        ]
        return tuple(level.contiguous() for level in cut) if self.contiguous_maps else tuple(cut)

    def check(self, images: Tensor) -> None:
        """Raise ValueError if these are no images for this network."""
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"{type(self).__name__} takes images (B, {self.in_channels}, H, W), got {tuple(images.shape)}; "
                "other channel counts need in_channels=..."
            )
        if min(images.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"{type(self).__name__} takes images of at least {SMALLEST} x {SMALLEST} pixels, "
                f"got {images.shape[-2]} x {images.shape[-1]}; pad or enlarge them"
            )

    def pad(self, images: Tensor) -> Tensor:
        """Return images padded to multiples of `pad_to`, in the memory layout of tokens."""
        if self.pad_to > 1:  # written for ONNX, which rounds quotients towards zero, and Inductor, which must see sides above 0
            height, width = images.shape[-2:]
            right, bottom = (((side - 1) // self.pad_to + 1) * self.pad_to - side for side in (width, height))
            images = F.pad(images, (0, right, 0, bottom))
        return images.contiguous(memory_format=torch.channels_last)

    def add_classifier(self, classes: int) -> None:
        """Add what the authors' classifier has beside the backbone, under the names of their files; see `zoo`."""
        self.head = nn.Linear(self.level_channels[LAST], classes)

    def classify(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of padded images (B, in_channels, H, W): by default, of the average of the last map."""
        (last,) = self.forward(images)
        return self.head(last.mean(dim=(2, 3)))

    def run_block(self, block: nn.Module, features: Tensor, *extra: Any) -> Tensor:
        """Return `block(features, *extra)`; under `with_cp`, the backward pass computes its activations again."""
        if self.with_cp and self.training and torch.is_grad_enabled():
            return checkpointed(block, features, *extra)
        return block(features, *extra)

    def frozen_parts(self) -> Iterable[nn.Module]:
        """Yield the modules of the `frozen_stages` leading stages that are built."""
        for stage in range(min(self.frozen_stages, max(self.out_indices) + 1)):
            yield from self.stage_parts(stage)

    def finish(self) -> None:
        """Apply the options that concern all parts, such as `frozen_stages`; the last line of every constructor."""
        for part in self.frozen_parts():
            part.requires_grad_(False)
        if self.norm_eps is not None:
            self.set_norm_eps(self.norm_eps)
        self.train(self.training)

    def set_norm_eps(self, eps: float) -> None:
        """Give all layer norms another epsilon."""
        self.norm_eps = eps
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = eps

    def train(self, mode: bool = True) -> "Pyramid":
        """Set the mode as `nn.Module.train` does; frozen stages and, under `norm_eval`, batch norms stay in eval mode."""
        super().train(mode)
        if mode:
            for part in self.frozen_parts():
                part.eval()
            if self.norm_eval:
                for module in self.modules():
                    if tracks_statistics(module):
                        module.eval()
        return self

    def leaves_out(self, name: str) -> bool:
        """Return whether a tensor belongs to a part that is not built, because no level of `out_indices` needs it."""
        first, _, rest = name.partition(".")
        number = rest.partition(".")[0]
        if not number.isdecimal():  # another network's
            return False
        if first == "stages":
            return int(number) > self.out_indices[-1]
        return first in ("taps", "laterals") and int(number) not in self.out_indices

    def is_fresh(self, name: str) -> bool:
        """Return whether a tensor of the model has no counterpart in released files and keeps its initial values."""
        first, _, rest = name.partition(".")
        return first == "laterals" or (first == "taps" and not rest.startswith(f"{LAST}.norm."))

    def init_parts(self) -> None:
        """Set the initial values of all parameters, as the authors start training."""
        raise NotImplementedError

    def init_weights(self) -> None:
        """Set the initial values, then load the released file that `init_cfg` names, and log what was loaded.

        Raises:
            CheckpointError: the file does not fit this arch exactly; nothing was loaded then.
        """
        if self._is_init:
            return
        self.init_parts()
        entries = listed(self.init_cfg)
        pretrained = [cfg for cfg in entries if is_pretrained(cfg)]
        initialize(self, [cfg for cfg in entries if cfg not in pretrained])
        for cfg in pretrained:
            options = {key: value for key, value in cfg.items() if key not in ("type", "map_location")}
            if unknown := options.keys() - LOADING:
                raise InputError(f"init_cfg has no option {min(unknown)}; expected {', '.join(LOADING)}")
            MMLogger.get_current_instance().info(str(loading.load_pretrained(self, **options)), extra={"first_line": "weights"})
        self._is_init = True


def families() -> list[type[Pyramid]]:
    """Return the backbone classes."""
    MODELS.import_from_location()  # imports their files, where they register themselves
    return list(BACKBONES.values())

"""All archs in timm's registry, and so in what builds its encoders from timm (segmentation_models_pytorch, transformers).

    import timm, mmvit.timm
    timm.list_models("mmvit_*")
    encoder = timm.create_model("mmvit_van_b2", features_only=True, pretrained=True, in_chans=4, out_indices=(1, 2, 3))

A name is `mmvit_` and the one that `mmvit.create` takes; files for other image sizes are tags, as `mmvit_volo_d1.384`. Each
model has a second name without "vit", such as `pyramid_van_b0`: anomalib takes every name with "vit" in it for a plain ViT.
With `features_only=True` a model is a backbone, with `num_classes=1000` its authors' ImageNet classifier.
"""

from collections.abc import Iterable
from typing import Any

from timm.models import FeatureInfo, PretrainedCfg, generate_default_cfgs, register_model, resolve_pretrained_cfg
from torch import Tensor, nn

from ..errors import InputError
from ..pyramid import STRIDES, Pyramid
from ..weights.published import SCHEME
from ..weights.released import FILES
from ..zoo import CLASSES, Classifier, create, find, list_archs

PREFIX = "mmvit_"
ALIAS = "pyramid_"
ANY_SIZE = ("dynamic_img_size", "dynamic_img_pad", "img_size")  # options of timm's ViTs for what these models do anyway
HEAD = ("num_classes", "global_pool", "drop_rate")  # options of a classifier, which timm drops under features_only


class FeatureNet(nn.Module):
    """Backbone as timm's feature extractors are: a list of maps, and `feature_info` about them."""

    output_fmt = "NCHW"

    def __init__(self, model: Pyramid) -> None:
        super().__init__()
        self.model = model
        rows = [
            dict(num_chs=count, reduction=stride, module=f"stages.{level}", index=level)
            for level, (count, stride) in enumerate(zip(model.level_channels, model.level_strides, strict=True))
        ]
        self.feature_info = FeatureInfo(rows, model.out_indices)
        self.pretrained_cfg: dict[str, Any] = {}

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of images (B, in_chans, H, W), finest first."""
        return list(self.model(images))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Iterable[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return maps by the interface of timm's classifiers, which DPT of segmentation_models_pytorch calls.

        Args:
            x: images (B, in_chans, H, W).
            indices: levels, or the number of last levels; None for all that were built.
            norm, stop_early: accepted for timm's sake, without effect.
            output_fmt: only NCHW.
            intermediates_only: return only the list of maps, not the last map before it.

        Raises:
            InputError: a level was not built, or the format is another.
        """
        built = list(self.model.out_indices)
        wanted = built if indices is None else levels(indices)
        if output_fmt != "NCHW" or not set(wanted) <= set(built):
            raise InputError(
                f"forward_intermediates: indices {wanted} in {output_fmt} were asked for; expected some of the levels {built} "
                "that were built, in NCHW"
            )
        maps = [level.contiguous() for level in self.model(x)]  # callers use view() on them
        found = [maps[built.index(level)] for level in wanted]
        return found if intermediates_only else (maps[-1], found)

    @property
    def default_cfg(self) -> dict[str, Any]:
        return self.pretrained_cfg

    @property
    def return_layers(self) -> dict[str, str]:
        """Names and levels of the returned maps; transformers sets it to ask for all levels."""
        return {f"stages.{level}": str(level) for level in self.model.out_indices}

    @return_layers.setter
    def return_layers(self, layers: dict[str, str]) -> None:
        if layers != self.return_layers:
            raise InputError(
                f"all hidden states were asked for, but only levels {self.model.out_indices} were built: "
                "give out_indices=(0, 1, 2, 3)"
            )

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the activations of each block in the backward pass, or no longer."""
        self.model.with_cp = enable


def build(name: str, pretrained: bool = False, **options: Any) -> FeatureNet | Classifier:
    """Return what `timm.create_model` asks for: the backbone `name`, or its authors' classifier, with timm's options.

    Args:
        name: one of `mmvit.list_archs()`.
        pretrained: load the released file, or the `file`, `url` or `hf_hub_id` of `pretrained_cfg_overlay`.
        options: timm's (in_chans, out_indices, negative ones from the end, or how many of the last), and the backbone's.

    Raises:
        InputError: neither `features_only` nor 1,000 classes, another `output_stride` than 32, or an option that neither knows.
        CheckpointError: the file is not available, or does not fit exactly.
    """
    cfg = resolve_pretrained_cfg(
        PREFIX + name, options.pop("pretrained_cfg", None), options.pop("pretrained_cfg_overlay", None)
    )
    features_only, classes = options.pop("features_only", False), options.get("num_classes")
    if not features_only and classes != CLASSES:
        raise InputError(
            f"{PREFIX}{name}: create it with features_only=True as a backbone, which DPT of segmentation_models_pytorch takes, "
            f"too; with num_classes={CLASSES} it is its authors' classifier of ImageNet, and of other classes there is none. "
            f"anomalib asks for a plain ViT where a name has 'vit' in it: call this one {alias_of(name)}"
        )
    if (stride := options.pop("output_stride", STRIDES[-1])) != STRIDES[-1]:
        raise InputError(
            f"{PREFIX}{name}: output_stride={stride}: it has the strides {STRIDES} and cannot be dilated, which DeepLabV3 and "
            "DeepLabV3+ ask for; take a decoder for all four levels, such as Unet, FPN, UPerNet or Segformer"
        )
    if options.pop("cache_dir", None) is not None:
        raise InputError("cache_dir: files are kept in torch's hub directory; set TORCH_HOME to have them elsewhere")
    options = {key: value for key, value in options.items() if key not in (*HEAD, *ANY_SIZE)}
    options.setdefault("in_channels", options.pop("in_chans", 3))
    source = source_of(name, cfg) if pretrained else None
    if not features_only:
        return classifier(name, source, cfg, **options)
    options["out_indices"] = levels(options.get("out_indices", len(STRIDES)))
    model = create(name, source, **options)
    if pretrained:
        mark_loaded(model)
    net = FeatureNet(model)
    net.pretrained_cfg = cfg.to_dict()
    return net


def classifier(name: str, source: str | None, cfg: Any, **options: Any) -> Classifier:
    """Return the authors' classifier with the attributes that timm's models have."""
    model = create(name, source, classifier=True, **options)
    known = cfg.to_dict()
    told = dict(num_classes=CLASSES, num_features=model.backbone.level_channels[-1], pretrained_cfg=known, default_cfg=known)
    for key, value in told.items():
        setattr(model, key, value)
    return model


def mark_loaded(model: Pyramid) -> None:
    """Tell transformers that the tensors have their values: its TimmBackbone resets the statistics of batch norms otherwise."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor._is_hf_initialized = True  # type: ignore[attr-defined]


def levels(out_indices: int | Iterable[int]) -> list[int]:
    """Return the levels that timm's `out_indices` mean: so many of the last, or a list, negative from the end."""
    chosen = range(-out_indices, 0) if isinstance(out_indices, int) else out_indices
    return [level + len(STRIDES) if level < 0 else level for level in chosen]


def source_of(name: str, cfg: Any) -> str:
    """Return where the weights of a timm `PretrainedCfg` lie: the user's own file or address, or the released file."""
    if cfg.file:
        return cfg.file
    if cfg.hf_hub_id:
        return f"hf://{cfg.hf_hub_id}" + (f"/{cfg.hf_hub_filename}" if cfg.hf_hub_filename else "")
    key = f"{name}_{cfg.tag}" if cfg.tag else name
    row = FILES.get(key)
    return cfg.url if cfg.url and (row is None or cfg.url != row.url) else SCHEME + key


def pretrained_cfgs() -> dict[str, dict[str, Any] | PretrainedCfg]:
    """Return timm's description of each released file, by model and tag."""
    archs = list_archs()  # which fills FILES
    cfgs: dict[str, dict[str, Any] | PretrainedCfg] = {}
    for key, row in FILES.items():
        name = key if key in archs else key.rpartition("_")[0]
        tag = key.removeprefix(name).replace("_", ".")
        size = 224 if row is None else row.img_size
        cfgs[PREFIX + name + tag] = PretrainedCfg(
            url=None if row is None else row.url,
            input_size=(3, size, size),
            license=None if row is None else row.licence,
            paper_ids=f"arXiv:{find(name)[0].record.paper}",
        )
    return cfgs | {alias_of(name.removeprefix(PREFIX)): cfg for name, cfg in cfgs.items()}


def alias_of(name: str) -> str:
    """Return the second name of a model, without "vit"."""
    return ALIAS + name.replace("_vit", "")


def register() -> None:
    """Enter all archs into timm's registry, by both names."""
    for name in list_archs():
        register_model(entrypoint(name, PREFIX + name))
        register_model(entrypoint(name, alias_of(name)))


def entrypoint(name: str, called: str) -> Any:
    """Return the function that timm calls for a model; timm registers functions by their own names."""

    def function(pretrained: bool = False, **options: Any) -> FeatureNet | Classifier:
        return build(name, pretrained, **options)

    function.__name__ = function.__qualname__ = called
    return function


default_cfgs = generate_default_cfgs(pretrained_cfgs())  # where timm's registry looks for them
register()

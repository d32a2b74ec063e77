"""Backbones by name, as encoders for any PyTorch code, without a config.

    import mmvit
    mmvit.list_archs("volo*")                       # ['volo_d1', ...]
    encoder = mmvit.create("van_b2", checkpoint="mmvit://van_b2", out_indices=(1, 2, 3))
    classifier = mmvit.create("van_b2", checkpoint="mmvit://van_b2", classifier=True)

A name is the family's and the arch's: `pvt_v2` and `b2_li` make `pvt_v2_b2_li`. `mmvit://NAME` stands for the file that the
authors released, also in `init_cfg` of a config.
"""

from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, overload

from torch import Tensor, nn

from .arguments import is_pretrained, listed
from .errors import InputError, nearest
from .pyramid import LAST, Pyramid, families
from .weights.published import SCHEME
from .weights.released import FILES

CLASSES = 1000  # of ImageNet
OF_TIMM = {  # options of timm.create_model, and what stands for them here
    "pretrained": "the released weights are create({name!r}, 'mmvit://{name}')",
    "num_classes": "it returns a backbone, or with classifier=True its authors' classifier of ImageNet",
    "features_only": "it returns a backbone",
}


class Classifier(nn.Module):
    """The ImageNet classifier of a family's authors: a backbone, and what their files hold beside it.

    Loading is as exact as that of a backbone: every tensor of the classifier has to be in the file. Images are normalised as
    the authors' are: mean 0.485, 0.456, 0.406 and deviation 0.229, 0.224, 0.225 of values from 0 to 1.

    Args:
        family: class of the backbone.
        arch: one of its archs, or a full set of sizes.
        options: options of the backbone, such as drop_path_rate, in_channels, init_cfg.

    Raises:
        InputError: options that the classifier sets itself, or that the backbone refuses.
    """

    def __init__(self, family: type[Pyramid], arch: Any, **options: Any) -> None:
        super().__init__()
        settings = dict(family.record.as_classifier, out_indices=(LAST,))
        if taken := [f"{name}={options[name]}" for name in settings if options.get(name, settings[name]) != settings[name]]:
            raise InputError(f"classifier=True: {', '.join(taken)}: the classifier of {family.__name__} has {settings}")
        self.backbone = family(arch, **options | settings)  # type: ignore[arg-type]  # every family takes arch first
        self.backbone.add_classifier(CLASSES)
        self.backbone.finish()  # of the added parts

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 1000) of images (B, in_channels, H, W), of any size: they are padded as those of the backbone.

        Raises:
            ValueError: images of another rank or channel count, or smaller than 32 pixels on a side.
        """
        self.backbone.check(images)
        return self.backbone.classify(self.backbone.pad(images))


def list_archs(pattern: str = "*") -> list[str]:
    """Return the names that `create` takes and that match a shell pattern such as `volo*`."""
    names = [f"{family.record.name}_{arch}" for family in families() for arch in family.record.archs]
    return [name for name in names if fnmatch(name, pattern)]


def find(name: str) -> tuple[type[Pyramid], str]:
    """Return the class and arch of a name.

    Raises:
        InputError: there is no such name; the message suggests the nearest.
    """
    for family in families():
        arch = name.removeprefix(f"{family.record.name}_")
        if arch != name and arch in family.record.archs:
            return family, arch
    raise InputError(f"no backbone is called {name!r}; {nearest(name, list_archs())}, see mmvit.list_archs()")


@overload
def create(name: str, checkpoint: str | Path | None = None, *, classifier: Literal[True], **options: Any) -> Classifier: ...
@overload
def create(
    name: str, checkpoint: str | Path | None = None, *, classifier: Literal[False] = False, **options: Any
) -> Pyramid: ...
def create(
    name: str, checkpoint: str | Path | None = None, *, classifier: bool = False, prefix: str | None = None, **options: Any
) -> Pyramid | Classifier:
    """Return a backbone with weights, ready to use: images (B, 3, H, W) to a tuple of maps.

    Args:
        name: one of `list_archs()`.
        checkpoint: the authors' file, one of ours, or a detector's: a path, a URL, or `mmvit://NAME` for the released file.
            None leaves random weights.
        classifier: return the authors' ImageNet classifier instead, images to logits (B, 1000). The checkpoint
            has to hold its tensors, too.
        prefix: which tensors of the checkpoint, see `weights.loading.load_pretrained`.
        options: options of the backbone, such as out_indices, in_channels, frozen_stages, drop_path_rate; `init_cfg` stands
            for `checkpoint`, as in a config.

    Raises:
        InputError: no such name, an option of timm's, or `init_cfg` beside `checkpoint`.
        CheckpointError: the file is not available, or does not fit exactly.
        ValueError, TypeError: options that the backbone refuses.
    """
    family, arch = find(name)
    if others := OF_TIMM.keys() & options.keys():
        raise InputError(f"create has no option {min(others)}: {OF_TIMM[min(others)].format(name=name)}")
    if checkpoint is not None:
        if options.get("init_cfg") is not None:
            raise InputError("create: both checkpoint and init_cfg say what to load; give one of them")
        options["init_cfg"] = dict(type="Pretrained", checkpoint=str(checkpoint)) | (dict(prefix=prefix) if prefix else {})
    elif prefix is not None:
        raise InputError(f"create: prefix={prefix!r} chooses tensors of a checkpoint; give that, too")
    if classifier:
        whole = Classifier(family, arch, **released_options(options.get("init_cfg")) | options)
        whole.backbone.init_weights()
        return whole
    model = family(arch, **options)  # type: ignore[arg-type]  # every family takes arch first
    model.init_weights()
    return model


def released_options(init_cfg: Any) -> dict[str, int]:
    """Return the size of images that the `mmvit://NAME` of an `init_cfg` was trained with, as an option, if it is not 224."""
    for checkpoint in (str(entry.get("checkpoint")) for entry in listed(init_cfg) if is_pretrained(entry)):
        row = FILES.get(checkpoint.removeprefix(SCHEME)) if checkpoint.startswith(SCHEME) else None
        if row is not None and row.img_size != 224:
            return dict(pretrain_img_size=row.img_size)
    return {}

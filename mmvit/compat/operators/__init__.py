"""Stand-in for `mmcv._ext`, the compiled half of mmcv, made of torchvision and plain torch.

`mmcv.ops` imports `mmcv._ext` and asserts that some 115 functions exist in it. mmcv-lite and source packages installed without
a compiler have no such file, and mmcv does not build against current torch. `install()` puts a finder at the end of
`sys.meta_path` that answers for this one name if no other finder does: a compiled `_ext` always takes precedence. Functions
outside of `SUPPLIED` exist too, so that the assertions hold, and raise NotImplementedError when they are called. What only
point clouds (`points_in_boxes_*`, voxels) and text (`bezier_align`) need is left out on purpose.

Nothing heavy is imported before mmcv itself imports `mmcv._ext`.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

NAME = "mmcv._ext"

# Which file of this package holds which functions. Signatures and results are those of mmcv 2.1 and onedl-mmcv 2.3.
SUPPLIED: dict[str, tuple[str, ...]] = {
    "boxes": ("bbox_overlaps", "nms", "nms_match", "softnms"),
    "roi": ("roi_align_forward", "roi_align_backward", "roi_pool_forward", "roi_pool_backward"),
    "deform_roi": ("deform_roi_pool_forward", "deform_roi_pool_backward"),
    "rotated": ("box_iou_rotated", "nms_rotated", "box_iou_quadri", "nms_quadri"),
    "rotated_roi": ("roi_align_rotated_forward", "roi_align_rotated_backward"),
    "deform_conv": (
        "deform_conv_forward",
        "deform_conv_backward_input",
        "deform_conv_backward_parameters",
        "modulated_deform_conv_forward",
        "modulated_deform_conv_backward",
    ),
    "focal_loss": (
        "sigmoid_focal_loss_forward",
        "sigmoid_focal_loss_backward",
        "softmax_focal_loss_forward",
        "softmax_focal_loss_backward",
    ),
    "attention": ("ms_deform_attn_forward", "ms_deform_attn_backward", "psamask_forward", "psamask_backward"),
    "reassembly": (
        "carafe_forward",
        "carafe_backward",
        "carafe_naive_forward",
        "carafe_naive_backward",
        "masked_im2col_forward",
        "masked_col2im_forward",
    ),
    "sync_bn": (
        "sync_bn_forward_mean",
        "sync_bn_forward_var",
        "sync_bn_forward_output",
        "sync_bn_backward_param",
        "sync_bn_backward_data",
    ),
}


def install() -> None:
    """Make `import mmcv._ext` find the stand-in where no compiled file exists. Call it before `mmcv.ops` is imported.

    Calling it again changes nothing. It is harmless where mmcv is not installed.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def is_supplied() -> bool:
    """Return whether the `mmcv._ext` in use, or else the one that an import would find now, is this stand-in.

    Does not import mmcv, and returns False where mmcv is not installed.
    """
    if NAME in sys.modules:
        return isinstance(sys.modules[NAME], _Module)
    mmcv = sys.modules.get("mmcv")
    parent = mmcv.__spec__ if mmcv is not None else find_spec("mmcv")
    if parent is None:
        return False
    spec = _first_spec(sys.meta_path, parent.submodule_search_locations)
    return spec is not None and isinstance(spec.loader, _Loader)


def _first_spec(finders: Sequence[Any], path: Sequence[str] | None) -> ModuleSpec | None:
    """Return the spec of `mmcv._ext` from the first of `finders` that knows it; finders of the oldest protocol do not count."""
    found = (finder.find_spec(NAME, path) for finder in finders if hasattr(finder, "find_spec"))
    return next(filter(None, found), None)


class _Module(ModuleType):
    """Module that stands in for `mmcv._ext`.

    It is a class of its own, so that every public name exists and `is_supplied` recognises it.
    """

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("_"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return _not_supplied(name)


class _Finder:
    """Finder of `mmcv._ext` that comes after every other finder, also those that were appended later."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        later = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else []
        if _first_spec(later, path) is not None:
            return None
        return ModuleSpec(NAME, _Loader(), origin=f"stand-in of {__name__}")


class _Loader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name, __doc__)

    def exec_module(self, module: ModuleType) -> None:
        for file, names in SUPPLIED.items():
            functions = importlib.import_module(f"{__name__}.{file}")
            for name in names:
                setattr(module, name, getattr(functions, name))
        import torchvision

        compiler = f"not compiled: mmvit's stand-in on torchvision {torchvision.__version__}"  # for mmcv's environment report
        cuda = "not available"  # mmcv's word for a build without CUDA
        vars(module).update(get_compiler_version=lambda: compiler, get_compiling_cuda_version=lambda: cuda)


def _not_supplied(name: str) -> Callable:
    def operator(*args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            f"the mmcv operator {name!r} needs a compiled mmcv: mmvit's stand-in for mmcv._ext, which is in use, does "
            "not supply it. Install an mmcv compiled for this torch, and it takes precedence by itself. mmcv's build "
            "is known to work with torch 2.10 and to fail with torch 2.14, whose headers need C++20 where the build "
            "pins C++17. So, with torch 2.10 and a C++ compiler, replace mmcv-lite by `pip install --no-cache-dir "
            "--no-build-isolation mmcv==2.1.0`, or compile onedl-mmcv in the same way. pip will say that mmvit asks for a "
            "later torch: exports of segmenters and torch.compile of VAN need it."
        )

    operator.__name__ = operator.__qualname__ = name
    return operator

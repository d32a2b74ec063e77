"""Checks of what reaches the model: sizes of crops, windows and batches, and packages that steps and metrics need."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from ..arguments import name_of
from ..config.datasets import DatasetView
from ..config.parts import entry_of, mappings, parts_of
from ..config.windows import windows_fault
from ..errors import first_few
from .findings import Finding, doubtful, wrong
from .plan import Plan

LEAST_FILLED = 0.5  # share of a batch's pixels that come from images
LVIS = "git+https://github.com/lvis-dataset/lvis-api.git"  # PyPI's has np.float, which NumPy 1.24 removed
PANOPTIC = "git+https://github.com/cocodataset/panopticapi.git"
# Types that import a package of which neither mmdet nor mmseg say that they need it: the module, and what to install.
NEEDS = {
    **dict.fromkeys(("CocoPanopticMetric", "LoadPanopticAnnotations"), ("panopticapi", PANOPTIC)),
    **dict.fromkeys(("LVISDataset", "LVISV05Dataset", "LVISV1Dataset", "LVISMetric", "LVISFixedAPMetric"), ("lvis", LVIS)),
    **dict.fromkeys(("CityScapesMetric", "CityscapesMetric"), ("cityscapesscripts", "cityscapesscripts")),
    "COCOCaptionMetric": ("pycocoevalcap", "pycocoevalcap"),
    "Albu": ("albumentations", "albumentations"),
    "Corrupt": ("imagecorruptions", "imagecorruptions"),
    "InstaBoost": ("instaboostfast", "instaboostfast"),
    "LoadBiomedicalImageFromFile": ("nibabel", "nibabel"),
    **dict.fromkeys(("LoadSingleRSImageFromFile", "LoadMultipleRSImageFromFile"), ("osgeo", "gdal")),
    "BoxInstDataPreprocessor": ("skimage", "scikit-image"),
    "PAAHead": ("sklearn", "scikit-learn"),
    "BertModel": ("transformers", "transformers"),
    "WandbVisBackend": ("wandb", "wandb"),
    "TensorboardVisBackend": ("tensorboard", "tensorboard"),
    "ClearMLVisBackend": ("clearml", "clearml"),
    "MLflowVisBackend": ("mlflow", "mlflow"),
    "NeptuneVisBackend": ("neptune", "neptune"),
    "DVCLiveVisBackend": ("dvclive", "dvclive"),
    "AimVisBackend": ("aim", "aim"),
}


def check_sizes(plan: Plan) -> Iterator[Finding]:
    """Report crops and batches that do not fit the size that mmseg pads images to."""
    part = entry_of(plan.config, "model.data_preprocessor") or {}
    if name_of(part.get("type")) != "SegDataPreProcessor":
        return
    key, size, divisor = "model.data_preprocessor", part.get("size"), part.get("size_divisor")
    if plan.trained and (size is None) == (divisor is None):
        given = "neither size nor size_divisor" if size is None else "both size and size_divisor"
        yield wrong(f"{key} has {given}, expected one of them", "Write size=(HEIGHT, WIDTH), the crop of the training")
    for view in plan.trained:
        if size is not None and (crop := crop_of(view)) is not None:
            yield from _crop(view, crop, tuple(size), key)
    for split in plan.splits:
        batch = entry_of(plan.config, f"{split}_dataloader.batch_size") or 1
        if split != "train" and batch > 1 and not part.get("test_cfg"):
            yield doubtful(
                f"{split}_dataloader.batch_size is {batch}: images of several sizes stop the run, because {key} has no "
                "test_cfg to pad them with",
                f"Set {key}.test_cfg=dict(size_divisor=32), or batch_size=1",
            )


def _crop(view: DatasetView, crop: tuple[int, int], size: tuple[int, ...], key: str) -> Iterator[Finding]:
    where = f"{view.key}.pipeline crops to {crop[0]} x {crop[1]} (height x width), {key}.size is {size[0]} x {size[1]}"
    if crop[0] > size[0] or crop[1] > size[1]:
        yield wrong(f"{where}: images of several sizes are no batch", f"Set {key}.size={crop}")
    elif (share := crop[0] * crop[1] / (size[0] * size[1])) < LEAST_FILLED:
        yield doubtful(f"{where}: {1 - share:.0%} of each batch is padding", f"Set {key}.size={crop}")


def crop_of(view: DatasetView) -> tuple[int, int] | None:
    """Return height and width of the last crop of a pipeline; None without one."""
    steps = [step for _, step in parts_of(view.config, "pipeline") if name_of(step.get("type")) == "RandomCrop"]
    last = steps[-1].get("crop_size") if steps else None
    return (last, last) if isinstance(last, int) else tuple(last) if last else None


def check_windows(plan: Plan) -> Iterator[Finding]:
    """Report windows of a segmenter's test at which its first validation stops."""
    models = plan.models if plan.config.get("default_scope") == "mmseg" and plan.splits != ("train",) else ()
    for key, model in models:
        if fault := windows_fault(model, key):
            yield wrong(fault)


def check_views(plan: Plan) -> Iterator[Finding]:
    """Report test-time augmentation with images all larger, or all smaller, than those that the model is validated on."""
    used = plan.only_asked or "module" in (plan.config.get("model") or {})  # by test --tta
    views = _long_sides(plan.config.get("tta_pipeline"))
    usual = _long_sides((plan.config.get("val_dataloader") or plan.config.get("test_dataloader") or {}).get("dataset"))
    if used and views and len(usual) == 1 and not views[0] <= usual[0] <= views[-1]:
        yield doubtful(
            f"tta_pipeline resizes longer sides to {first_few(views)}, validation to {usual[0]}: with --tta no image has the "
            "size that the model knows",
            "Give the steps of tta_pipeline scales around that of validation",
        )


def _long_sides(part: Any) -> list[int]:
    """Return the longer sides to which the steps of a pipeline resize, the smallest first."""
    scales = [step.get("scale") for step in mappings(part) if name_of(step.get("type")) == "Resize"]
    return sorted({max(scale) for scale in scales if isinstance(scale, list | tuple)})


def check_packages(plan: Plan) -> Iterator[Finding]:
    """Report packages that types in the config need and that are not installed."""
    parts = [plan.config.get(name) for name in ("model", "visualizer", "vis_backends")]
    for split in plan.splits:
        parts += [plan.config.get(f"{split}_dataloader"), plan.config.get(f"{split}_evaluator")]
    for kind in dict.fromkeys(name_of(part["type"]) for part in mappings(parts) if "type" in part):
        module, package = NEEDS.get(kind, ("", ""))
        if module and find_spec(module) is None:
            yield wrong(f"{kind} needs the package {module}, which is not installed", f"pip install {package}")

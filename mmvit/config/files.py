"""Config files: finding them by name, and reading them.

`_base_ = 'mmvit::NAME.py'` in a config names a config of this package. mmengine knows such prefixes from a fixed table of
packages, and reads a model index for each; `install` adds ours.
"""

from collections.abc import Callable, Collection, Mapping
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..errors import InputError, first_few, nearest
from .datasets import SPLITS, loaders_of
from .parts import mappings

PACKAGE = Path(__file__).parent.parent
READ = (  # keys of configs that are read, and that mmengine's runner has no option for
    *("sync_bn", "find_unused_parameters", "model_wrapper_cfg", "runner_type", "compile", "strategy", "custom_imports"),
    *("auto_scale_lr", "test_pipeline", "tta_model", "tta_pipeline"),
)
OURS = "mmvit::"  # prefix of the name of a config of this package


class Variant(NamedTuple):
    """A change of any config, such as the demo."""

    name: str  # last part of the work dir's name
    change: Callable[[Config, Collection[str]], None]  # in place, before the user's options, whose keys it receives
    prepare: Callable[[], object]  # makes the data
    hooks: tuple[str, ...] = ()  # that a training has in addition to the config's


def open_config(source: str | Path, options: Mapping[str, Any] | None = None, variant: Variant | None = None) -> Config:
    """Read a config as every command does: find it by path or name, apply a variant, then the user's options.

    Args:
        source: a file, or the name of one of our configs.
        options: entries to change, as `--cfg-options` gives them.

    Raises:
        InputError: there is no such config, it does not parse, or it cannot take the options.
    """
    cfg = load_config(config_file(str(source)))
    options = dict(options or {})
    _require_known(cfg, options)
    if variant is not None:
        variant.change(cfg, options)
    try:
        cfg.merge_from_dict(options)
    except Exception as error:
        raise InputError(f"--cfg-options {options} do not fit {source}: {error}") from error
    _colour(cfg)
    return cfg


def _require_known(cfg: Config, options: Collection[str]) -> None:
    """Raise InputError if an option's first part is no key of a config, but nearly one: it would change nothing."""
    from mmengine.runner import Runner  # torch, not before it is needed

    known = [*cfg, *signature(Runner).parameters, *READ]
    for key in dict.fromkeys(option.partition(".")[0] for option in options):
        if key not in known and (hint := nearest(key, known, most=1, cutoff=0.8, otherwise="")):
            raise InputError(f"--cfg-options {key}: no such key in the config; {hint}")


def _colour(cfg: Config) -> None:
    """Give classes that a config names without a palette colours of their own: datasets would keep those of other classes."""
    from ..data.colours import palette_of  # OpenCV, not before it is needed

    for part in mappings([loader for _, loader in loaders_of(cfg, SPLITS)]):
        metainfo: Any = part.get("metainfo")
        if isinstance(metainfo, dict) and isinstance(metainfo.get("classes"), list | tuple) and "palette" not in metainfo:
            metainfo["palette"] = palette_of(metainfo["classes"])


def shipped(folder: str) -> Path:
    """Return our folder `configs` or `tools`: inside the installed package, or beside the package of a checkout."""
    inside = PACKAGE / ".mim" / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder


def our_config(name: str) -> Path:
    """Return the file of a config of this package by its name, with or without `mmvit::` and `.py`.

    Raises:
        InputError: there is no such config; the message suggests the nearest.
    """
    folder = shipped("configs")
    name = name.removeprefix(OURS).removesuffix(".py")
    file = folder / f"{name}.py"
    if not file.is_file():
        names = [leaf.stem for leaf in sorted(folder.glob("*.py"))]
        raise InputError(f"mmvit has no config {name}; {nearest(name, names, cutoff=0.5, otherwise=f'see {folder}/')}")
    return file


def config_file(name: str) -> Path:
    """Return the file of a path, of `mmvit::NAME.py`, of a bare name of one of our configs, or of a project's folder.

    A path that does not exist is returned unchanged: loading it suggests similar ones.

    Raises:
        InputError: a bare name is neither a file here nor a config of ours.
    """
    path = Path(name)
    if name.startswith(OURS):
        return our_config(name)
    if path.is_dir():
        return _project_config(path)
    if path.is_file() or path.parent != Path():
        return path
    try:
        return our_config(name)
    except InputError as error:
        raise InputError(f"config {name}: no such file in {Path.cwd()}, and {error}") from error


def _project_config(folder: Path) -> Path:
    """Return the config of a folder that `mmvit new` or a training wrote: the only one, or the one that no other builds on.

    Raises:
        InputError: there is none, or there are several.
    """
    files = sorted(folder.glob("*.py"))
    if len(files) > 1:
        texts = {file: file.read_text(encoding="utf-8", errors="replace") for file in files}
        files = [file for file in files if not any(file.name in texts[other] for other in files if other != file)]
    if len(files) != 1:
        there = f"{len(files)} configs in it ({first_few([file.name for file in files])})" if files else "no config in it"
        raise InputError(f"config {folder}: a folder with {there}. Expected a project of mmvit new, or the file of a config")
    return files[0]


def load_config(path: Path) -> Config:
    """Read a config. Raise InputError if there is no such file (the message suggests the nearest), or it does not parse."""
    if not path.is_file():
        names = [file.name for file in sorted(path.parent.glob("*.py"))]
        raise InputError(
            f"config {path}: no such file; {nearest(path.name, names, cutoff=0.6, otherwise=f'see {path.parent}/')}"
        )
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        if isinstance(error, ImportError) and "custom_imports" in path.read_text(encoding="utf-8"):
            raise InputError(f"config {path}: {_import_fault(error)}") from error
        raise InputError(f"config {path} does not parse: {type(error).__name__}: {error}") from error
    for part in mappings(cfg._cfg_dict):  # mmengine leaves it in lists, such as the datasets of a ConcatDataset
        part.pop("_delete_", None)  # type: ignore[attr-defined]
    return cfg


def _import_fault(error: BaseException) -> str:
    """Describe why a module of `custom_imports` fails; mmengine always advises to set PYTHONPATH, and hides the first error."""
    module = ""
    while (inner := error.__cause__ or error.__context__) is not None:
        module = str(error).rpartition("Failed to import ")[2] or module
        error = inner
    if isinstance(error, ModuleNotFoundError) and error.name in (module, module.partition(".")[0]):
        return f"custom_imports names {module}, which Python does not find. Set PYTHONPATH to the folder that contains it"
    return f"custom_imports names {module}, which fails as it is imported: {type(error).__name__}: {error}"


def install() -> None:
    """Let `_base_` name configs of this package; a second call changes nothing."""
    get_cfg_path = Config._get_cfg_path
    if hasattr(get_cfg_path, "__wrapped__"):
        return

    @wraps(get_cfg_path)
    def file_and_scope(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(OURS):
            return str(our_config(cfg_path)), None  # our types belong to mmdet and mmseg
        return get_cfg_path(cfg_path, filename)

    Config._get_cfg_path = staticmethod(file_and_scope)

"""Parts of a model's config: how to find them, and how to build them without loading files."""

from collections.abc import Iterable, Iterator, Mapping
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

if TYPE_CHECKING:
    from mmengine.registry import Registry


def build(part: dict[str, Any]) -> Any:
    """Build a part of a model without loading files: on the meta device, or on the CPU if it does not build there."""
    import torch  # which --help does without
    from mmengine.registry import MODELS

    try:
        with torch.device("meta"):
            return MODELS.build(without_init(part))
    except Exception:
        return MODELS.build(without_init(part))


def without_init(part: Any) -> Any:
    """Return a part of a config with every `init_cfg` set to None, so that building it loads no files."""
    return replaced(part, "init_cfg", None)


def replaced(part: Any, name: str, value: Any) -> Any:
    """Return a part of a config in which all entries of a name, at any depth, have another value."""
    if isinstance(part, dict):
        return type(part)({key: value if key == name else replaced(entry, name, value) for key, entry in part.items()})
    if isinstance(part, list | tuple):
        return type(part)(replaced(entry, name, value) for entry in part)
    return part


def parts_of(model: Mapping[str, Any], names: str | Iterable[str], key: str = "model") -> list[tuple[str, dict[str, Any]]]:
    """Return the configs under names, each of which may hold one or a list, with their full keys; `key` is empty at the top."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name in [names] if isinstance(names, str) else names:
        part, full = model.get(name), f"{key}.{name}" if key else name
        if isinstance(part, dict):
            found.append((full, part))
        elif isinstance(part, list | tuple):
            found += [(f"{full}.{index}", entry) for index, entry in enumerate(part) if isinstance(entry, dict)]
    return found


def entry_of(part: Any, key: str) -> Any:
    """Return the entry under a key with dots; None if a part on the way is missing, or is no mapping."""
    for name in key.split("."):
        part = part.get(name) if isinstance(part, Config | Mapping) else None
    return part


def is_ours(part: Mapping[str, Any]) -> bool:
    """Return whether a part's type is one of this package."""
    kind = part.get("type")
    return (kind.__module__ if isinstance(kind, type) else str(kind)).startswith("mmvit.")


def mappings(part: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all mappings in a part of a config, at any depth, the outer ones first."""
    if isinstance(part, Mapping):
        yield part
        part = [part[name] for name in part]  # mmengine's `values()` would resolve lazy objects
    for entry in part if isinstance(part, list | tuple) else ():
        yield from mappings(entry)


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def like(value: Any, other: Any) -> Any:
    """Return a list as a tuple if `other` is one: some parts insist on tuples, for which checkpoints have lists."""
    return tuple(value) if isinstance(value, list) and isinstance(other, tuple) else value


def models_of(model: Mapping[str, Any], key: str = "model") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a model and those inside it (of teachers, distillers, test-time augmentation) that have a backbone or heads."""
    if "backbone" in model or any(str(name).endswith("_head") for name in model):
        yield key, model
    for name, part in model.items():
        if isinstance(part, Mapping) and "backbone" in part:
            yield from models_of(part, f"{key}.{name}")


def evaluators_of(cfg: Config, split: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the metrics of a split with their keys; its evaluator may be one, a list, or one that has them."""
    key = f"{split}_evaluator"
    given = cfg.get(key)
    inside = isinstance(given, Mapping) and given.get("metrics")
    return parts_of(given, "metrics", key) if inside else parts_of(cfg, key, "")


def takes(kind: type | None, option: str) -> bool:
    """Return whether a class, or one that it derives from, names an option."""
    return any(option in signature(base.__init__).parameters for base in getattr(kind, "__mro__", ()))


def default_of(kind: type | None, option: str) -> Any:
    """Return the default of an option that a class, or one that it derives from, names; None without one."""
    for base in getattr(kind, "__mro__", ()):
        named = signature(base.__init__).parameters.get(option)
        if named is not None:
            return None if named.default is Parameter.empty else named.default
    return None


def class_of(part: Mapping[str, Any], registry: "Registry", scope: str | None = None) -> type | None:
    """Return the class that a part's `type` names in its own scope, `scope` or the default one; None if there is none."""
    kind = part.get("type")
    if isinstance(kind, str):
        with registry.switch_scope_and_registry(part.get("_scope_") or scope) as found:
            kind = found.get(kind)
    return kind if isinstance(kind, type) else None

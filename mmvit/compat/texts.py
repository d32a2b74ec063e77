"""Configs that checkpoints contain as text, read as data.

mmengine runs such a text as Python, and it may be a stranger's. Here only literals, `dict(...)`, `list(...)` and `tuple(...)`
are read, and a `type` may only name a class of the toolkits, because mmengine would import and call any dotted path. A path as
pure-Python configs have it (`mmseg.models.FPNHead`) is read as scope and name, which the registries know. Once `install` was
called, the stock inferencers read it the same way if they are called without a config.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

from mmengine.config import Config

from ..errors import CheckpointError
from .imports import when_imported

SCOPES = ("mmcv", "mmdet", "mmengine", "mmpretrain", "mmseg", "mmvit")
FUNCTIONS = ("nms", "soft_nms", "nms_rotated", "deconv", "nearest", "bilinear", "pixel_shuffle", "carafe")  # types, too
NAMED = r"(?:[A-Z]\w*|iSAIDDataset|gRefCOCOMetric)"  # classes, of which the toolkits begin two with a small letter
PATH = re.compile(rf"({'|'.join(SCOPES)})\.(?:[a-z_]\w*\.)+({NAMED}|{'|'.join(FUNCTIONS)})", re.ASCII)
TYPE = re.compile(rf"(?:(?:{'|'.join(SCOPES)})\.)?{NAMED}", re.ASCII)
TAKEN = ("model", "default_scope", "test_dataloader", "test_pipeline", "tta_model", "tta_pipeline")
REMEDY = "mmvit predict takes a config as a file: mmvit predict CONFIG CHECKPOINT ..."
STOCK = (*TAKEN, "train_dataloader", "visualizer")  # SAHI asks the training data whether there are masks


def install() -> None:
    """Let the inferencers of mmdet and mmseg read such a text as data, once they are imported."""
    when_imported("mmengine.infer.infer", _replace)


def _replace() -> None:
    """Fill in the config, where there is none, before mmengine goes from config and weights to a model."""
    import mmengine.infer.infer as stock

    init_model = stock.BaseInferencer._init_model

    @wraps(init_model)
    def answer(self: Any, cfg: Any, weights: str | None, device: str = "cpu") -> Any:
        if not cfg and weights is not None:
            text = text_of(stock._load_checkpoint(weights, map_location="cpu"))
            if text is not None:  # otherwise mmengine says that there is none
                cfg.update(read_config(text, str(weights), STOCK)._cfg_dict)
        return init_model(self, cfg, weights, device)

    stock.BaseInferencer._init_model = answer


def text_of(checkpoint: Any) -> str | None:
    """Return the text of the config in a checkpoint, from where mmengine looks for it, or None."""
    for path in (("message_hub", "runtime_info", "cfg"), ("meta", "cfg")):
        part = checkpoint
        for name in path:
            part = part.get(name) if isinstance(part, Mapping) else None
        if isinstance(part, str):
            return part
    return None


def read_config(text: str, source: str, names: tuple[str, ...] = TAKEN) -> Config:
    """Return the parts of a checkpoint's config that a prediction needs. Nothing of it is run.

    Args:
        text: as mmengine writes it to `meta.cfg`.
        source: what a message calls the checkpoint.
        names: names of the parts.

    Raises:
        CheckpointError: the text has anything other than assignments of plain values, or a `type` that is no class of the
            toolkits.
    """
    try:
        statements = ast.parse(text).body
        values = dict(_assignment(statement) for statement in statements)
    except _RefusedError as error:
        raise CheckpointError(
            f"{source}: its config was not read: line {error.line} has {error.what}. Expected NAME = value with literals, "
            f"dict(...), list(...) and tuple(...) only, because a stranger's config could run code. {REMEDY}"
        ) from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{source}: its config is no Python text: {error}. {REMEDY}") from error
    taken = {name: values[name] for name in names if name in values}
    for name, value in taken.items():
        _settle_types(value, name, source)
    if lacking := [name for name in ("model", "test_dataloader") if not isinstance(taken.get(name), dict)]:
        raise CheckpointError(f"{source}: its config has no {' and no '.join(lacking)}. {REMEDY}")
    if taken.get("default_scope") not in SCOPES:
        raise CheckpointError(f"{source}: its config has default_scope {taken.get('default_scope')!r}. {REMEDY}")
    return Config(taken)


def plain_values(text: str | None, names: Sequence[str]) -> dict[str, Any]:
    """Return those of `names` that a checkpoint's config assigns, as data; an empty dict if the text cannot be read."""
    try:
        return {name: value for name, value in map(_assignment, ast.parse(text or "").body) if name in names}
    except (_RefusedError, SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return {}


class _RefusedError(Exception):
    def __init__(self, node: Any, what: str) -> None:
        super().__init__(what)
        self.line, self.what = getattr(node, "lineno", 0), what


def _assignment(statement: ast.stmt) -> tuple[str, Any]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id, _value(statement.value)
    raise _RefusedError(statement, f"a statement of kind {type(statement).__name__}: {ast.unparse(statement)[:60]}")


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        values = [_value(part) for part in node.elts]
        return tuple(values) if isinstance(node, ast.Tuple) else values if isinstance(node, ast.List) else set(values)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        if isinstance(number, int | float):
            return -number
    if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
        return float(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "dict" and not node.args and all(word.arg for word in node.keywords):
            return {str(word.arg): _value(word.value) for word in node.keywords}
        if node.func.id in ("list", "tuple") and len(node.args) <= 1 and not node.keywords:
            values = _value(node.args[0]) if node.args else []
            if isinstance(values, list | tuple):
                return list(values) if node.func.id == "list" else tuple(values)
    raise _RefusedError(node, ast.unparse(node)[:60])


def _settle_types(value: Any, key: str, source: str) -> None:
    if isinstance(value, dict):
        if path := PATH.fullmatch(str(value.get("type"))):
            scope, name = path.groups()
            value["type"] = name if name in FUNCTIONS else f"{scope}.{name}"
        for name in ("type", "_scope_"):
            kind = value.get(name)
            known = kind in SCOPES if name == "_scope_" else kind in FUNCTIONS or bool(TYPE.fullmatch(str(kind)))
            if kind is not None and not known:
                raise CheckpointError(
                    f"{source}: its config was not used: {key}.{name} is {kind!r}. Expected the name of a class of "
                    f"{', '.join(SCOPES)}: mmengine would import and call anything else. {REMEDY}"
                )
        for name, part in value.items():
            _settle_types(part, f"{key}.{name}", source)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            _settle_types(part, f"{key}.{index}", source)

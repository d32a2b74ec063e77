"""Where a backbone's numbers come from: read a released file safely, rename, load exactly, report.

Released files differ in container (a bare dict, or one under `state_dict`, `model`, `state_dict_ema`, `model_ema`), in key
prefix (`module.`, `backbone.`), in the size of their position tables and in input channels. All of these are accepted; what
the backbone has no place for is dropped by name, and anything else that does not fit is an error that loads nothing.
Files are read by `archives`, which runs no code of theirs and believes none of their claims.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from timm.models import adapt_input_conv
from torch import Tensor

from ..errors import CheckpointError, some
from ..layers.parts import Grid, resize_table
from .archives import read_checkpoint, require_real
from .downloads import fetch

CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # averaged weights are the ones that authors report
PREFIXES = ("module.", "backbone.")


class Loadable(Protocol):
    """What the loader needs of a model: its tensors, and what they are called in released files; see `pyramid.Pyramid`."""

    table_mode: ClassVar[str]
    input_tensors: ClassVar[tuple[str, ...]]
    in_channels: int

    def our_name(self, released: str) -> str: ...

    def ignores(self, name: str) -> bool: ...

    def is_fresh(self, name: str) -> bool: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True) -> Any: ...


@dataclass(frozen=True)
class LoadReport:
    """What `load_pretrained` did. Names of `loaded` are the model's, names of `dropped` the file's."""

    source: str
    loaded: tuple[str, ...]
    dropped: tuple[str, ...]
    missing: tuple[str, ...]  # tensors of the model that no released file has; they keep their initial values
    adapted: tuple[str, ...]  # resized position tables, input convolutions of other channel counts

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.loaded)} tensors loaded, {len(self.dropped)} dropped, {len(self.missing)} missing"]
        for what in ("adapted", "dropped", "missing"):
            if names := getattr(self, what):
                lines.append(f"  {what}: {', '.join(names)}")
        return "\n".join(lines)


def load_pretrained(
    model: Loadable, checkpoint: str | Path, prefix: str | None = None, sha256: str | None = None
) -> LoadReport:
    """Loads a released file, one of ours, or a detector's backbone into `model`.

    Args:
        model: a backbone of this package.
        checkpoint: path, http(s) or file URL (downloaded once into torch's hub directory), or `mmvit://NAME` for a released
            file, see `zoo`.
        prefix: keys to take, such as `'backbone.'`; all others are dropped. None finds `module.` and `backbone.` itself.
        sha256: expected digest of a downloaded file, or its beginning.

    Raises:
        CheckpointError: unreadable, not exactly the tensors of this arch (both lists are in the message), or NaN or infinite
            numbers in them.
    """
    state = read_state(checkpoint, sha256=sha256)
    taken, dropped = _select(state, str(checkpoint), prefix)
    target = model.state_dict()
    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    adapted: list[str] = []
    misfits: dict[str, str] = {}
    unknown: list[str] = []
    for released, value in taken.items():
        name = model.our_name(released)
        if name not in target:
            (dropped if model.ignores(name) else unknown).append(released)
            continue
        if name in found:
            raise CheckpointError(f"{checkpoint}: both {origin[name]} and {released} are {name}; expected one of them")
        fitted = _fit(model, name, value, target[name])
        if fitted is None:
            misfits[name] = f"{released} {tuple(value.shape)}, expected {tuple(target[name].shape)}"
            continue
        if fitted.shape != value.shape:
            adapted.append(f"{name} {tuple(value.shape)} -> {tuple(fitted.shape)}")
        found[name], origin[name] = fitted, released
    missing = [name for name in target if name not in found and name not in misfits]
    lacking = [name for name in missing if not model.is_fresh(name)]
    if unknown or misfits or lacking or not found:
        raise CheckpointError(
            _explain(str(checkpoint), f"{type(model).__name__} backbone", len(found), lacking, unknown, [*misfits.values()])
        )
    _require_finite(found, target, str(checkpoint))
    model.load_state_dict(found, strict=False)  # exactness was checked above, fresh tensors apart
    return LoadReport(str(checkpoint), tuple(found), tuple(dropped), tuple(missing), tuple(adapted))


def require_match(model: torch.nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Checks that `state` is exactly the state of `model`, which mmengine's own loading does not, and fit to compute with.

    Buffers may be infinite, as masks of attention are.

    Raises:
        CheckpointError: another architecture's or another config's checkpoint, the message lists what differs; or NaN or
            infinite numbers in it.
    """
    target = model.state_dict()
    misfits = [
        f"{name} {tuple(value.shape)}, expected {tuple(target[name].shape)}"
        for name, value in state.items()
        if name in target and target[name].shape != value.shape
    ]
    lacking = [name for name in target if name not in state]
    unknown = [name for name in state if name not in target]
    if misfits or lacking or unknown:
        matched = len(target) - len(lacking) - len(misfits)
        raise CheckpointError(_explain(source, "model of this config", matched, lacking, unknown, misfits))
    learnt = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    _require_finite(state, target, source, may_be_infinite=target.keys() - learnt)


def read_state(source: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a checkpoint file or URL under their own names, whatever container they lie in.

    Raises:
        CheckpointError: see `fetch`, `read_checkpoint` and `require_real`, or no tensors inside.
    """
    path = fetch(source, sha256)
    return tensors_of(read_checkpoint(path), path, source)


def tensors_of(content: Any, path: Path, source: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that was read, as `read_state` does.

    Args:
        content: what `read_checkpoint` returned.
        path: where the file lies.
        source: what a message calls it.
    """
    for container in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{source} holds a {type(content).__name__}, expected a dict of tensors")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{source} holds no tensors: neither by itself nor under {', '.join(CONTAINERS)}")
    require_real(tensors, path, source)
    return tensors


def _require_finite(
    values: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str, may_be_infinite: Collection[str] = ()
) -> None:
    """Refuses numbers that are NaN or infinite, or become so in the `target`'s precision. The shapes are the target's.

    Raises:
        CheckpointError: names the tensors.
    """
    wrong = []
    for name, value in values.items():
        if not target[name].is_floating_point():
            continue
        value = value.to(target[name].dtype)
        if not bool((~value.isnan() if name in may_be_infinite else value.isfinite()).all()):
            wrong.append(name)
    if wrong:
        raise CheckpointError(
            f"{source}: {len(wrong)} tensors hold NaN or infinite numbers, nothing was loaded: {some(wrong)}. The file is "
            "damaged, or of a training that diverged: get it again, or take an earlier checkpoint"
        )


def _select(state: dict[str, Tensor], source: str, prefix: str | None) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the prefix, without it, and the names of the others."""
    if prefix is not None:
        taken = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if not taken:
            raise CheckpointError(f"{source}: no key starts with prefix={prefix!r}; keys are such as {some(list(state))}")
        return taken, [name for name in state if not name.startswith(prefix)]
    taken, dropped = state, []
    for candidate in PREFIXES:
        if any(name.startswith(candidate) for name in taken):
            dropped += [name for name in taken if not name.startswith(candidate)]
            taken = {name.removeprefix(candidate): value for name, value in taken.items() if name.startswith(candidate)}
    return taken, dropped


def _fit(model: Loadable, name: str, value: Tensor, target: Tensor) -> Tensor | None:
    """`value` in the shape of `target`, or None where that would not be the same network."""
    if name.endswith("pos_embed"):
        return fit_table(value, target, model.table_mode)
    if name in model.input_tensors:
        value = fit_inputs(value, model.in_channels)
    return value if value.shape == target.shape else None


def fit_inputs(value: Tensor, channels: int) -> Tensor:
    """A tensor that meets RGB images made to meet images of `channels` channels.

    As timm does: convolutions (D, 3, k, k) and linear layers over unfolded patches (D, 3 * k * k) are summed for one channel,
    for others repeated and scaled by 3 / channels; norms of patches (3 * k * k,) are averaged or repeated.
    """
    if channels == 3:
        return value
    if value.ndim == 4:
        return adapt_input_conv(channels, value)
    planes = value.unflatten(-1, (3, -1))  # the patch of each colour
    if value.ndim == 2:
        return adapt_input_conv(channels, planes.unsqueeze(-1)).flatten(1)
    if channels == 1:
        return planes.mean(0)
    return planes.repeat(-(-channels // 3), 1)[:channels].flatten()


def fit_table(table: Tensor, target: Tensor, mode: str) -> Tensor | None:
    """A position table (1, N, C), (1, N + 1, C) with a class token's row first, or (1, h, w, C), made to fit `target`.

    The class token's row is dropped where the target has none. None where the tables cannot mean the same thing.
    """
    if table.shape == target.shape:
        return table
    old_class_rows, old = _table_layout(table)
    class_rows, new = _table_layout(target)
    if old is None or new is None or class_rows > old_class_rows or table.shape[-1] != target.shape[-1]:
        return None
    rows = table.reshape(1, -1, table.shape[-1])
    exact = torch.promote_types(table.dtype, torch.float32)  # half precision is not interpolated on every device
    grid = resize_table(rows[:, old_class_rows:].to(exact), old, new, mode).to(table.dtype)
    return torch.cat([rows[:, :class_rows], grid], dim=1).reshape(target.shape)


def _table_layout(table: Tensor) -> tuple[int, Grid | None]:
    """Class-token rows (0 or 1) and grid of a position table; no grid where its rows make no square."""
    if table.ndim == 4:
        return 0, (table.shape[1], table.shape[2])
    for class_rows in (0, 1):
        side = isqrt(table.shape[1] - class_rows)
        if side > 0 and side * side == table.shape[1] - class_rows:
            return class_rows, (side, side)
    return 0, None


def _explain(source: str, what: str, matched: int, lacking: list[str], unknown: list[str], misfits: list[str]) -> str:
    lines = [f"{source} does not fit the {what} ({matched} tensors match); nothing was loaded. Is it another arch's file?"]
    for title, names in (
        ("missing in the file", lacking),
        ("not in the model", unknown),
        ("of another shape", misfits),
    ):
        if names:
            lines.append(f"  {len(names)} {title}: {some(names)}")
    return "\n".join(lines)

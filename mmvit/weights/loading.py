"""Where a backbone's numbers come from: read a file safely, find the network in it, rename, load exactly, report.

Files differ in containers and prefixes, in the toolkit whose names they have (`layouts`), in the size of their position tables
and in input channels. All of these are accepted; what the backbone has no place for is dropped by name, and anything else that
does not fit is an error that loads nothing. Files are read by `archives`, which runs no code of theirs and believes none of
their claims.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import torch
from timm.models import adapt_input_conv
from torch import Tensor

from ..errors import CheckpointError, some
from ..layers.parts import Grid, resize_table
from .addresses import is_authors
from .contents import Contents, prefixes_of, read_contents
from .selection import Loadable, Taken, Target, select
from .suggestions import nearest_arch


@dataclass(frozen=True)
class LoadReport:
    """What `load_pretrained` did. Names of `loaded` are the model's, names of `dropped` the file's."""

    source: str
    loaded: tuple[str, ...]
    dropped: tuple[str, ...]
    missing: tuple[str, ...]  # tensors of the model that no released file has; they keep their initial values
    adapted: tuple[str, ...]  # resized position tables, input convolutions of other channel counts
    layout: str = ""  # whose names the file has, and what stands before them
    remarks: tuple[str, ...] = ()  # what was chosen or set besides

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.loaded)} tensors loaded, {len(self.dropped)} dropped, {len(self.missing)} missing"]
        lines += [f"  {line}" for line in (self.layout, *self.remarks) if line]
        for what in ("adapted", "dropped", "missing"):
            if names := getattr(self, what):
                lines.append(f"  {what}: {', '.join(names)}")
        return "\n".join(lines)


def load_pretrained(
    model: Loadable, checkpoint: str | Path, prefix: str | None = None, sha256: str | None = None
) -> LoadReport:
    """Loads a released file, one of ours, or a detector's backbone into `model`, whosever names its tensors have.

    Args:
        model: a backbone of this package.
        checkpoint: path, http(s) or file URL (downloaded once into torch's hub directory), `hf://OWNER/REPO[/FILE][@REVISION]`,
            or `mmvit://NAME` for a released file, see `zoo`.
        prefix: what the names of the wanted tensors begin with, such as `'backbone.'` or `'student.'`, or the container in
            which they lie, such as `'state_dict.'`; all others are dropped. None finds it, and takes averaged weights where
            there are both.
        sha256: expected digest of a downloaded file, or its beginning.

    Raises:
        CheckpointError: unreadable, ambiguous, not exactly the tensors of this arch (both lists are in the message), or NaN or
            infinite numbers in them.
    """
    contents = read_contents(checkpoint, sha256)
    target = model.state_dict()
    taken = select(contents, Target(target, model), prefix)
    dropped = [*taken.others, *taken.unused]
    found: dict[str, Tensor] = {}
    adapted: list[str] = []
    misfits: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in taken.tensors.items():
        released = taken.origin[name]
        if name not in target:
            (dropped if model.ignores(name) else unknown).append(released)
            continue
        fitted = _fit(model, name, value, target[name])
        if fitted is None:
            misfits[name] = f"{released} {tuple(value.shape)}, expected {tuple(target[name].shape)}"
            continue
        if fitted.shape != value.shape:
            adapted.append(f"{name} {tuple(value.shape)} -> {tuple(fitted.shape)}")
        found[name] = fitted
    missing = [name for name in target if name not in found and name not in misfits]
    lacking = [name for name in missing if not model.is_fresh(name)]
    if unknown or misfits or lacking or not found:
        told = _explain(str(checkpoint), f"{type(model).__name__} backbone", len(found), lacking, unknown, [*misfits.values()])
        raise CheckpointError("\n".join([told, *_hints(contents, taken)]))
    _require_finite(found, target, str(checkpoint))
    model.load_state_dict(found, strict=False)  # exactness was checked above, fresh tensors apart
    remarks = (*taken.remarks, *adopt_eps(model, taken, str(checkpoint)))
    return LoadReport(str(checkpoint), tuple(found), tuple(dropped), tuple(missing), tuple(adapted), str(taken.choice), remarks)


def adopt_eps(model: Loadable, taken: Taken, source: str) -> list[str]:
    """Set the eps with which the file's network computes, where its toolkit has another than the authors; say so.

    Copies of the authors' files in the layout of a toolkit (`mmvit://NAME`) keep the authors' eps, with which they were
    trained.
    """
    eps = None if taken.choice.layout is None else taken.choice.layout.eps
    if eps is None or is_authors(source) or model.norm_eps == eps:
        return []
    if model.norm_eps is not None:
        return [f"norm_eps stays {model.norm_eps}, as the config has it; {taken.choice.layout} has {eps}"]
    model.set_norm_eps(eps)
    return [f"norm_eps={eps}: set in all layer norms, as {taken.choice.layout} has it"]


def _hints(contents: Contents, taken: Taken) -> list[str]:
    """What helps with a file that does not fit: what was tried, what else is there, and whose file it may be."""
    lines = [f"  tried: {taken.choice}"]
    if prefixes := prefixes_of(contents):
        lines.append(f"  the file has names under {', '.join(prefixes)}; choose one with prefix='...'")
    near = nearest_arch(contents)
    return [*lines, f"  {near}"] if near else lines


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
    lines = [f"{source} does not fit the {what} ({matched} tensors match); nothing was loaded"]
    for title, names in (
        ("missing in the file", lacking),
        ("not in the model", unknown),
        ("of another shape", misfits),
    ):
        if names:
            lines.append(f"  {len(names)} {title}: {some(names)}")
    return "\n".join(lines)

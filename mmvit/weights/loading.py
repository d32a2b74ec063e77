"""Loading of weights into a backbone: read a file safely, find the network in it, rename, load exactly, report.

Files differ in containers and prefixes, in the toolkit whose names they use (`layouts`), in the size of their position tables
and in input channels. All of these are accepted. Tensors that only a classifier needs are dropped, and the report names them.
Anything else that does not fit is an error, and nothing is loaded. `archives` reads the files, without running their code.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import torch
from timm.models import adapt_input_conv
from torch import Tensor

from ..errors import CheckpointError, first_few
from ..layers.parts import Grid, resize_table
from .addresses import row_of
from .archives import implausible
from .contents import Contents, common_prefixes, read_contents
from .released import Released
from .selection import Loadable, Taken, Target, is_counter, select
from .suggestions import nearest_arch


@dataclass(frozen=True)
class LoadReport:
    """Report of `load_pretrained`.

    Attributes:
        source: path or address of the file.
        loaded: tensors that were loaded, by the model's names.
        dropped: tensors that the model has no use for, by the file's names.
        missing: tensors of the model that no released file has; they keep their initial values.
        adapted: position tables that were resized, and input layers whose channels were adapted.
        layout: the prefix in the file, and the toolkit whose names it uses.
        remarks: notes on what else was chosen or set.
    """

    source: str
    loaded: tuple[str, ...]
    dropped: tuple[str, ...]
    missing: tuple[str, ...]
    adapted: tuple[str, ...]
    layout: str = ""
    remarks: tuple[str, ...] = ()

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
    """Load a released file, one that mmvit wrote, or a detector's backbone into `model`, in the names of any known toolkit.

    Args:
        model: a backbone of this package.
        checkpoint: path, http(s) or file URL (downloaded once into torch's hub directory), `hf://OWNER/REPO[/FILE][@REVISION]`,
            or `mmvit://NAME` for a released file, see `zoo`.
        prefix: beginning of the names of the tensors to load, such as `'backbone.'` or `'student.'`, or their container, such
            as `'state_dict.'`; all others are dropped. None finds it, and prefers averaged to raw weights.
        sha256: expected digest of a downloaded file, or its beginning.

    Raises:
        CheckpointError: the file is unreadable or ambiguous, does not have exactly the tensors of this arch (the message lists
            the differences), or has NaN or infinite numbers.
    """
    contents = read_contents(checkpoint, sha256)
    target = model.state_dict()
    network = Target(target, model)
    taken = select(contents, network, prefix)
    dropped = [*taken.dropped]
    found: dict[str, Tensor] = {}
    adapted: list[str] = []
    misfits: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in taken.tensors.items():
        released = taken.origin[name]
        if name not in target:
            (dropped if network.ignores(name) else unknown).append(released)
            continue
        fitted = _fit(model, name, value, target[name])
        if fitted is None:
            misfits[name] = f"{released} {tuple(value.shape)}, expected {tuple(target[name].shape)}"
            continue
        if fitted.shape != value.shape:
            adapted.append(f"{name} {tuple(value.shape)} -> {tuple(fitted.shape)}")
        found[name] = fitted
    missing = [name for name in target if name not in found and name not in misfits]
    lacking = [name for name in missing if not model.is_fresh(name) and not is_counter(name)]
    if unknown or misfits or lacking or not found:
        text = _explain(str(checkpoint), f"{type(model).__name__} backbone", len(found), lacking, unknown, [*misfits.values()])
        raise CheckpointError("\n".join([text, *_hints(contents, taken)]))
    _require_finite(found, target, str(checkpoint))
    model.load_state_dict(found, strict=False)  # exactness was checked above, fresh tensors apart
    fault = implausible(found, checkpoint)
    remarks = (*taken.remarks, *adopt_eps(model, taken, str(checkpoint)), *([fault] if fault else ()))
    return LoadReport(str(checkpoint), tuple(found), tuple(dropped), tuple(missing), tuple(adapted), str(taken.choice), remarks)


def adopt_eps(model: Loadable, taken: Taken, source: str) -> list[str]:
    """Set the eps of the file's toolkit if it differs from the authors', and return remarks about it.

    Copies of the authors' files in the layout of a toolkit (`mmvit://NAME`) keep the authors' eps, as they were trained.
    """
    eps = None if taken.choice.layout is None else taken.choice.layout.eps
    if eps is None or isinstance(row_of(source), Released) or model.norm_eps == eps:
        return []
    if model.norm_eps is not None:
        return [f"norm_eps stays {model.norm_eps}, as the config has it; {taken.choice.layout} has {eps}"]
    model.set_norm_eps(eps)
    return [f"norm_eps={eps}: set in all layer norms, as {taken.choice.layout} has it"]


def _hints(contents: Contents, taken: Taken) -> list[str]:
    """Return hints on a file that does not fit: the choice that was tried, other prefixes, and the arch that fits best."""
    lines = [f"  tried: {taken.choice}"]
    if prefixes := common_prefixes(contents):
        lines.append(f"  the file has names under {', '.join(prefixes)}; choose one with prefix='...'")
    near = nearest_arch(contents)
    return [*lines, f"  {near}"] if near else lines


def require_match(model: torch.nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Check that `state` has exactly the tensors of `model` and no NaN or infinite numbers; mmengine's loading checks neither.

    Buffers may be infinite: masks of attention are.

    Raises:
        CheckpointError: the checkpoint is of another architecture or config (the message lists the differences), or has NaN
            or infinite numbers.
    """
    target = model.state_dict()
    misfits = [
        f"{name} {tuple(value.shape)}, expected {tuple(target[name].shape)}"
        for name, value in state.items()
        if name in target and target[name].shape != value.shape
    ]
    lacking = [name for name in target if name not in state and not is_counter(name)]
    unknown = [name for name in state if name not in target]
    if misfits or lacking or unknown:
        matched = len(target) - len(lacking) - len(misfits)
        raise CheckpointError(_explain(source, "model of this config", matched, lacking, unknown, misfits))
    learnt = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    _require_finite(state, target, source, may_be_infinite=target.keys() - learnt)


def _require_finite(
    values: Mapping[str, Tensor], target: Mapping[str, Tensor], source: str, may_be_infinite: Collection[str] = ()
) -> None:
    """Check that no number is NaN or infinite, or becomes so in the `target`'s precision. The shapes are the target's.

    Raises:
        CheckpointError: some are, or are no floating-point numbers, such as 8-bit integers without their scale; the message
            names the tensors.
    """
    wrong, strange = [], []
    for name, value in values.items():
        if not target[name].is_floating_point():
            continue
        if not value.is_floating_point():
            strange.append(f"{name} ({value.dtype})")
            continue
        value = value.to(target[name].dtype)
        if not bool((~value.isnan() if name in may_be_infinite else value.isfinite()).all()):
            wrong.append(name)
    if strange:
        raise CheckpointError(f"{source}: expected floating-point numbers, nothing was loaded: {first_few(strange)}")
    if wrong:
        raise CheckpointError(
            f"{source}: {len(wrong)} tensors hold NaN or infinite numbers, nothing was loaded: {first_few(wrong)}. The file is "
            "damaged, or its training diverged: download it again, or take an earlier checkpoint"
        )


def _fit(model: Loadable, name: str, value: Tensor, target: Tensor) -> Tensor | None:
    """Return `value` in the shape of `target`; None if that would be another network."""
    if name.endswith("pos_embed"):
        return fit_table(value, target, model.record.table_mode)
    if name in model.record.input_tensors and value.numel() * model.in_channels == target.numel() * 3:
        value = fit_inputs(value, model.in_channels)  # it is for RGB
    return value if value.shape == target.shape else None


def fit_inputs(value: Tensor, channels: int) -> Tensor:
    """Adapt a tensor of an input layer from RGB images to images with `channels` channels, like timm.

    Convolutions (D, 3, k, k) and linear layers over unfolded patches (D, 3 * k * k) are summed for one channel, otherwise
    repeated and scaled by 3 / channels. Norms of patches (3 * k * k,) are averaged for one channel, otherwise repeated.
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
    """Resize a position table to the shape of `target`; return None if the two cannot belong to the same network.

    A table is (1, N, C), (1, N + 1, C) with the row of a class token first, or (1, h, w, C). The row of the class token is
    dropped if the target has none.
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
    """Return the number of class-token rows (0 or 1) and the grid of a position table; None if its rows make no square."""
    if table.ndim == 4:
        return 0, (table.shape[1], table.shape[2])
    for class_rows in (0, 1):
        side = isqrt(table.shape[1] - class_rows)
        if side > 0 and side * side == table.shape[1] - class_rows:
            return class_rows, (side, side)
    return 0, None


def _explain(source: str, what: str, matched: int, lacking: list[str], unknown: list[str], misfits: list[str]) -> str:
    lines = [f"{source} does not fit the {what} ({matched} tensors match); nothing was loaded"]
    for title, names in (("missing in the file", lacking), ("not in the model", unknown), ("of another shape", misfits)):
        if names:
            lines.append(f"  {len(names)} {title}: {first_few(names)}")
    return "\n".join(lines)

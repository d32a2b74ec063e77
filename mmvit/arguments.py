"""Arguments of backbones and their checks: sizes, names of options, levels, and types in configs."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args, is_typeddict

from .errors import InputError, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

OTHERS = """
depth num_stages style strides dilations deep_stem avg_down norm_cfg conv_cfg act_cfg contract_dilation dcn stage_with_dcn
plugins stem_channels base_channels base_width groups zero_init_residual multi_grid embed_dims embed_dim depths
num_layers num_heads window_size patch_size patch_sizes sr_ratios mlp_ratio mlp_ratios qkv_bias qk_scale drop_rate
attn_drop_rate patch_norm use_abs_pos_embed ape convert_weights pretrain_img_size widen_factor deepen_factor
""".split()  # noqa: SIM905  (options of ResNet, Swin, MiT and mmdet's PVT, which a merge with a base config brings here)

Sizes = TypeVar("Sizes", bound="DataclassInstance")


class UnknownOptionError(InputError, TypeError):
    """Unknown keyword of a backbone: a TypeError for Python code, and an error that a user can mend for the command line."""


def name_of(kind: Any) -> str:
    """Return the name of a type without scope and modules; a config may give a name, a dotted path or the class itself."""
    return getattr(kind, "__name__", str(kind)).rpartition(".")[2]


def listed(value: Any) -> list[Any]:
    """Return the entries of an option that may be None, one or a list."""
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def is_pretrained(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of an `init_cfg` loads a file."""
    return name_of(entry.get("type")) in ("Pretrained", "PretrainedInit")  # the registered name, and that of the class


def resolve_arch(family: str, arch: str | Mapping[str, Any] | Sizes, table: Mapping[str, Sizes]) -> Sizes:
    """Return the sizes of `arch`: a name in the `table`, or a full set of sizes as a mapping or in their own type.

    Raises:
        InputError: the name is unknown, or the set of sizes has unknown or missing entries.
    """
    if isinstance(arch, int) and str(arch) in table:
        arch = str(arch)  # the command line passes the name of a T2T-ViT as a number
    if isinstance(arch, str):
        if arch not in table:
            hint = nearest(arch, table, most=1, cutoff=0.6, otherwise="")
            raise InputError(
                f"{family} has no arch {arch!r}; it has {', '.join(table)}, or give a full set of sizes{hint and f'; {hint}'}"
            )
        return table[arch]
    sizes_type = type(next(iter(table.values())))
    if is_dataclass(arch) and isinstance(arch, sizes_type):
        return arch
    if not isinstance(arch, Mapping):
        raise InputError(f"arch={arch!r}: expected one of {', '.join(table)}, or a full set of sizes as a dict")
    names = [field.name for field in fields(sizes_type)]
    wrong = sorted(set(names) ^ set(arch))
    if wrong:
        raise InputError(f"a set of sizes for {family} has exactly {', '.join(names)}; unknown or missing: {', '.join(wrong)}")
    return sizes_type(**{name: tuple(value) if isinstance(value, list) else value for name, value in arch.items()})


def check_options(kind: type, options: Mapping[str, Any]) -> None:
    """Raise UnknownOptionError if a backbone has no option of one of the names."""
    taken = _keywords(kind)
    if taken is not None and (unknown := {name: value for name, value in options.items() if name not in taken}):
        raise UnknownOptionError(_explain_unknown(kind.__name__, unknown, taken))


def _keywords(kind: type) -> list[str] | None:
    """Return the names of the options that a backbone takes, or None if its constructor does not name them."""
    taken = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            taken.append(name)
        elif (typed := get_args(parameter.annotation)) and is_typeddict(typed[0]):  # Unpack[...]
            taken += typed[0].__annotations__
        else:
            return None
    return taken


def _explain_unknown(family: str, unknown: Mapping[str, Any], taken: Sequence[str]) -> str:
    parts = [f"{family} has no option {', '.join(f'{name}={value!r}' for name, value in unknown.items())}"]
    foreign = [name for name in unknown if name in OTHERS]
    if "pretrained" in unknown:
        parts.append(
            "weights are loaded with init_cfg=dict(type='Pretrained', checkpoint=...); for mmseg, write model.pretrained=None"
        )
    for name in unknown:
        if name not in (*foreign, "pretrained") and (hint := nearest(name, taken, most=1, cutoff=0.6, otherwise="")):
            parts.append(f"instead of {name} {hint}")
    if foreign:
        parts.append(
            f"other backbones have {', '.join(foreign)}: where a base config's was merged into this one, write "
            f"backbone=dict(_delete_=True, type='mmvit.{family}', ...)"
        )
    return "; ".join([*parts, f"its options are {', '.join(taken)}"])


def check_indices(out_indices: Iterable[int], levels: int) -> tuple[int, ...]:
    """Return `out_indices` as a tuple. Raise InputError if they are empty, not rising, or beyond the levels."""
    indices = tuple(out_indices) if isinstance(out_indices, Iterable) else (out_indices,)
    if not indices or any(index not in range(levels) for index in indices) or list(indices) != sorted(set(indices)):
        choice = ", ".join(map(str, range(levels)))
        raise InputError(f"out_indices={out_indices!r}: expected a rising choice of {choice}, such as ({choice})")
    return indices

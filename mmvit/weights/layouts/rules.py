"""Rules that rename tensors between two layouts of the same network, both ways.

A rule pairs templates of names, such as `layers.{s}.1.{b+1}.norm1.{p}` and `stages.{s}.blocks.{b}.norm1.{p}`. A letter in
braces stands for a number, `{b+1}` for a number that counts from 1 instead of 0, `{p}` for weight or bias, `{*}` for anything.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import isqrt

import torch
from torch import Tensor

FIELD = re.compile(r"\{(?:([a-z])(\+1)?|\*)\}")


class Template:
    """A pattern of names that contain numbers."""

    def __init__(self, text: str) -> None:
        self.text = text
        pieces, end = [], 0
        for field in FIELD.finditer(text):
            letter = field[1]
            kind = r"(?P<rest>.+)" if letter is None else rf"(?P<{letter}>{'weight|bias' if letter == 'p' else '[0-9]{1,4}'})"
            pieces += [re.escape(text[end : field.start()]), kind]
            end = field.end()
        self.pattern = re.compile("".join([*pieces, re.escape(text[end:])]))

    def read(self, name: str) -> dict[str, str] | None:
        """Return the fields of a name, with numbers counted from 0; None if the name does not match."""
        found = self.pattern.fullmatch(name)
        if found is None:
            return None
        fields = found.groupdict()
        for letter, plus in FIELD.findall(self.text):
            if plus:
                fields[letter] = str(int(fields[letter]) - 1)
        return None if any(value.startswith("-") for letter, value in fields.items() if letter != "rest") else fields

    def write(self, fields: Mapping[str, str]) -> str:
        """Return the name that has these fields."""

        def value(field: re.Match[str]) -> str:
            if field[1] is None:
                return fields["rest"]
            return str(int(fields[field[1]]) + 1) if field[2] else fields[field[1]]

        return FIELD.sub(value, self.text)


@dataclass(frozen=True, eq=False)
class Rule:
    """A pair of names for the same tensor, theirs and ours.

    Either is a template, or several with their shares of the first axis, such as `{"q": 1, "kv": 2}`: concatenated along it,
    their tensors are the same.
    """

    theirs: str | Mapping[str, int]
    ours: str | Mapping[str, int]
    pointwise: bool = False  # whether theirs is a 1 x 1 convolution (D, C, 1, 1) and ours a linear layer (D, C)
    table: bool = False  # whether this is a position table; theirs may begin with a row for the class token, ours does not

    @cached_property
    def templates(self) -> tuple[list[Template], list[Template]]:
        """Templates of theirs, and of ours."""
        return [Template(text) for text in _shares(self.theirs)], [Template(text) for text in _shares(self.ours)]

    def to_ours(self, values: list[Tensor]) -> list[Tensor]:
        """Return our tensors. Raise ValueError if theirs cannot be cut by the shares."""
        if self.pointwise:
            values = [value.flatten(1) if value.ndim == 4 and value.shape[2:] == (1, 1) else value for value in values]
        return _recut(values, _shares(self.ours))

    def to_theirs(self, values: list[Tensor]) -> list[Tensor]:
        if self.pointwise:
            values = [value[:, :, None, None] if value.ndim == 2 else value for value in values]
        if self.table:
            values = [_without_class_row(value) for value in values]
        return _recut(values, _shares(self.theirs))


def _shares(templates: str | Mapping[str, int]) -> dict[str, int]:
    return {templates: 1} if isinstance(templates, str) else dict(templates)


def _recut(values: list[Tensor], shares: Mapping[str, int]) -> list[Tensor]:
    """Concatenate the tensors along their first axis, and cut the result by the shares."""
    if len(values) == len(shares) == 1:
        return values
    if any(value.ndim == 0 or value.shape[1:] != values[0].shape[1:] for value in values):
        raise ValueError(f"{' and '.join(str(tuple(value.shape)) for value in values)} cannot be concatenated")
    whole = torch.cat(values)
    total = sum(shares.values())
    if whole.shape[0] % total:
        raise ValueError(f"{whole.shape[0]} rows in {total} equal parts")
    return [part.contiguous() for part in whole.split([whole.shape[0] // total * share for share in shares.values()])]


def _without_class_row(table: Tensor) -> Tensor:
    rows = table.shape[1]
    return table[:, 1:] if table.ndim == 3 and isqrt(rows) ** 2 != rows and isqrt(rows - 1) ** 2 == rows - 1 else table


def renamer(rules: Iterable[Rule]) -> Callable[[str], str]:
    """Return what gives our name for theirs, by the first rule that matches, each of one template; other names stay."""
    pairs = [(theirs, ours) for rule in rules for theirs, ours in zip(*rule.templates, strict=True)]

    @cache
    def our_name(name: str) -> str:
        for theirs, ours in pairs:
            if (fields := theirs.read(name)) is not None:
                return ours.write(fields)
        return name

    return our_name


@dataclass(frozen=True)
class Renamed:
    """Tensors under new names, the names that each came from, and the names that no rule matches."""

    tensors: Mapping[str, Tensor]
    origin: Mapping[str, str]
    unknown: tuple[str, ...]


def rename(state: Mapping[str, Tensor], rules: Iterable[Rule], to_ours: bool) -> Renamed:
    """Apply the rules in either direction.

    Raises:
        ValueError: two tensors get the same name, or one cannot be cut as its rule says.
    """
    tensors: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    unknown = []
    done = set()
    table = [(rule, *(rule.templates if to_ours else rule.templates[::-1])) for rule in rules]
    for name in state:
        if name in done:
            continue
        for rule, sources, targets in table:
            fields = next((found for template in sources if (found := template.read(name)) is not None), None)
            if fields is None:
                continue
            names = [template.write(fields) for template in sources]
            if any(source not in state for source in names):
                continue
            values = [state[source] for source in names]
            parts = rule.to_ours(values) if to_ours else rule.to_theirs(values)
            done.update(names)
            for template, part in zip(targets, parts, strict=True):
                new = template.write(fields)
                if new in tensors:
                    raise ValueError(f"both {origin[new]} and {' + '.join(names)} are {new}; expected one of them")
                tensors[new], origin[new] = part, " + ".join(names)
            break
        else:
            unknown.append(name)
    return Renamed(tensors, origin, tuple(unknown))

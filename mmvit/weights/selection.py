"""Selection of a network's tensors in a file: under which prefix, in which layout, raw or averaged.

The choice with the most tensors of the network, by name and shape, wins. Of equal choices, averaged weights win, because
authors report their results. If several choices remain and their weights differ, the error names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ..errors import CheckpointError, first_few
from .contents import Contents, cuts
from .layouts import foreign
from .layouts.layout import Layout
from .released import Record


class Loadable(Protocol):
    """Protocol of what the loader needs of a backbone: tensors, and their names in released files; see `pyramid.Pyramid`."""

    record: ClassVar[Record]
    in_channels: int
    norm_eps: float | None

    def leaves_out(self, name: str) -> bool: ...

    def is_fresh(self, name: str) -> bool: ...

    def set_norm_eps(self, eps: float) -> None: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True) -> Any: ...


@dataclass(frozen=True)
class Choice:
    """A prefix in a file, and the layout of the names below it; None for the authors' names and ours."""

    prefix: str
    layout: Layout | None

    def __str__(self) -> str:
        prefix = f"prefix={self.prefix!r}" if self.prefix else "no prefix"
        return f"{prefix} ({self.layout or 'names of the authors or ours'})"


@dataclass(frozen=True)
class Taken:
    """Tensors of a choice, under our names."""

    choice: Choice
    tensors: Mapping[str, Tensor]  # by our names; by the file's names if there is no counterpart
    origin: Mapping[str, str]  # the file's name of each, below the prefix
    dropped: tuple[str, ...]  # the file's names outside the prefix, and those below it that the layout drops
    remarks: tuple[str, ...] = ()  # notes on the choice for the user


class Target:
    """A network to load tensors into: a backbone, or a whole model with a backbone inside.

    Args:
        state: its tensors.
        backbone: the backbone of this package; None if the model has none.
        inside: prefix of the backbone's names in the model, such as `backbone.`; empty if it is the model.
    """

    def __init__(self, state: Mapping[str, Tensor], backbone: Loadable | None, inside: str = "") -> None:
        self.state, self.backbone, self.inside = state, backbone, inside
        self.layouts = foreign(backbone.record.name) if backbone is not None else []

    def how_to_choose(self, source: str, prefix: str) -> str:
        """Return what takes the tensors below a prefix; commands and configs that load whole models have no option for it."""
        if self.backbone is not None and not self.inside:
            return f"prefix={prefix!r}"
        return f"a file of them alone: mmvit convert {quote(source)} --to mmvit --prefix {quote(prefix)} --out FILE"

    def base_name(self, name: str) -> str:
        """Return our name of a tensor that has the authors' name or ours."""
        if self.backbone is None or not name.startswith(self.inside):
            return name
        return self.inside + self.backbone.record.our_name(name[len(self.inside) :])

    def ignores(self, name: str) -> bool:
        """Return whether a tensor (by our name) belongs to the classifier of a backbone, or to a part that is not built."""
        if self.backbone is None or not name.startswith(self.inside):
            return False
        inner = name[len(self.inside) :]
        return inner.partition(".")[0] in self.backbone.record.classifier or self.backbone.leaves_out(inner)

    def take(self, contents: Contents, choice: Choice) -> Taken:
        """Return the tensors of a choice.

        Raises:
            CheckpointError: two tensors get the same name, or one cannot be cut as its rule says.
        """
        below = contents.below(choice.prefix)
        container = max((start for start in contents.containers if choice.prefix.startswith(start)), key=len, default="")
        others = [name.removeprefix(container) for name in contents.tensors if not name.startswith(choice.prefix)]
        tensors: dict[str, Tensor] = {}
        origin: dict[str, str] = {}
        unused: list[str] = []
        rest = below
        if choice.layout is not None:
            part = {name[len(self.inside) :]: value for name, value in below.items() if name.startswith(self.inside)}
            try:
                renamed = choice.layout.to_ours(part)
            except ValueError as error:
                raise CheckpointError(f"{contents.source}, as {choice.layout}: {error}") from error
            tensors = {self.inside + name: value for name, value in renamed.tensors.items()}
            origin = {self.inside + name: self.inside + old for name, old in renamed.origin.items()}
            unused = [self.inside + name for name in renamed.unknown if choice.layout.drops_name(name)]
            unknown = {self.inside + name for name in renamed.unknown}.difference(unused)
            rest = {name: value for name, value in below.items() if name in unknown or not name.startswith(self.inside)}
        for name, value in rest.items():
            ours = self.base_name(name)
            if ours in tensors:
                at_once = f"holds the names of the authors or ours and of {choice.layout} at once: " if choice.layout else ""
                raise CheckpointError(
                    f"{contents.source} {at_once}both {origin[ours]} and {name} are {ours}; remove those of one of them"
                )
            tensors[ours], origin[ours] = value, name
        return Taken(choice, tensors, origin, (*others, *unused))

    def score(self, taken: Taken) -> tuple[int, int]:
        """Return how many tensors of the network were taken: those with its shape, and all."""
        named = [name for name in taken.tensors if name in self.state and not is_counter(name)]
        return sum(taken.tensors[name].shape == self.state[name].shape for name in named), len(named)

    def strangers(self, taken: Taken) -> int:
        """Return how many of the tensors taken are neither the network's nor those of a classifier or of a part not built."""
        return sum(not (name in self.state or self.ignores(name) or is_counter(name)) for name in taken.tensors)

    def alike(self, one: Taken, other: Taken) -> bool:
        """Return whether two choices have the same names and shapes, classifiers apart: one network's, raw and averaged."""
        classifier = () if self.backbone is None else tuple(f"{self.inside}{name}." for name in self.backbone.record.classifier)
        first, second = (
            {name: value.shape for name, value in taken.tensors.items() if value.ndim and not name.startswith(classifier)}
            for taken in (one, other)
        )
        return first == second

    def choices(self, contents: Contents) -> list[Choice]:
        """Return what might be chosen: prefixes below which names of the network's, or marks of a layout, stand."""
        found: dict[Choice, None] = {}
        for name in contents.tensors:
            for prefix, rest in cuts(name):
                if self.base_name(rest) in self.state:
                    found[Choice(prefix, None)] = None
                if rest.startswith(self.inside):
                    inner = rest[len(self.inside) :]
                    found.update({Choice(prefix, layout): None for layout in self.layouts if layout.mark.match(inner)})
        return list(found)


def is_counter(name: str) -> bool:
    """Return whether a tensor counts the batches of a norm, which no result depends on, and which some files leave out."""
    return name.endswith("num_batches_tracked")


def select(contents: Contents, target: Target, prefix: str | None = None) -> Taken:
    """Return the tensors of a file that are the target's.

    Args:
        prefix: beginning of the names of the tensors to load, with or without the file's containers; any further prefix is
            found. None finds all of it.

    Raises:
        CheckpointError: there is nothing under the prefix, or several choices are equally good.
    """
    choices, start = target.choices(contents), ""
    if prefix is not None:
        starts = tuple(full for full in contents.starts(prefix) if any(name.startswith(full) for name in contents.tensors))
        if not starts:
            raise CheckpointError(
                f"{contents.source}: no key starts with prefix={prefix!r}; keys are such as {first_few(list(contents.tensors))}"
            )
        choices, start = [choice for choice in choices if choice.prefix.startswith(starts)], starts[0]
    best = best_of(contents, target, choices)
    if not best:
        return target.take(contents, Choice(start, None))
    poor = 2 * target.score(best[0])[1] < len(target.state)  # not this network: exact loading will refuse it
    return best[0] if len(best) == 1 or poor else _decide(contents, target, best)


def best_of(contents: Contents, target: Target, choices: list[Choice]) -> list[Taken]:
    """Return what is taken by the choices with the most tensors of a target.

    Only the prefixes with the most names below them are tried: a network's hundreds of blocks look like networks, too.
    """
    counts = contents.prefixes()
    most = sorted(dict.fromkeys(choice.prefix for choice in choices), key=lambda prefix: -counts[prefix])[:24]
    takes = [target.take(contents, choice) for choice in choices if choice.prefix in most]
    scores = [target.score(taken) for taken in takes]
    return [taken for taken, score in zip(takes, scores, strict=True) if score == max(scores)]


def _decide(contents: Contents, target: Target, equal: list[Taken]) -> Taken:
    """Return one of several equally good choices. Raise CheckpointError if they differ, and no rule prefers one."""
    if len({taken.choice.prefix for taken in equal}) == 1:
        whose = " and of ".join(str(taken.choice.layout or "the authors or ours") for taken in equal)
        raise CheckpointError(
            f"{contents.source} holds the names of {whose} at once, and either could be meant; remove those of one of them"
        )
    averaged = [taken for taken in equal if contents.is_averaged(taken.choice.prefix)]
    if not averaged or not all(target.alike(averaged[0], other) for other in equal):
        fewest = min(map(target.strangers, equal))
        averaged, equal = [], [taken for taken in equal if target.strangers(taken) == fewest]
    candidates = averaged or equal
    first = candidates[0]
    if not all(_same(first, other) for other in candidates[1:]):
        prefixes = " and under ".join(repr(taken.choice.prefix) for taken in candidates)
        raise CheckpointError(
            f"{contents.source} holds different weights of this network under {prefixes}; "
            f"choose one, such as {target.how_to_choose(contents.source, first.choice.prefix)}"
        )
    raw = [taken.choice.prefix for taken in equal if taken not in candidates]
    if not raw:
        return first
    others = target.how_to_choose(contents.source, raw[0])
    told = f"took the averaged weights under {first.choice.prefix!r}; the others are there with {others}"
    return replace(first, remarks=(told,))


def _same(one: Taken, other: Taken) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(value, other.tensors[name]) for name, value in one.tensors.items()
    )

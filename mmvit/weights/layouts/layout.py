"""Layout: the names that a toolkit gives the tensors of a family."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from .rules import Renamed, Rule, rename

FRESH = ("taps.", "laterals.")  # our names without a counterpart elsewhere, except for those that have a rule


@dataclass(frozen=True, eq=False)
class Layout:
    """Names of a toolkit for the tensors of a family."""

    toolkit: str  # timm, huggingface, mmdet, mmpretrain, authors or mmvit
    family: str  # our name of it, such as `pvt_v2`
    marks: str  # pattern of beginnings of names that, of the family's layouts, only this one's files have
    rules: tuple[Rule, ...]  # for each name, the first rule that matches applies
    drops: str | None = None  # pattern of names without a counterpart in a backbone
    eps: float | None = None  # eps of all layer norms; None for the authors'
    version: str = ""  # name of an older variant, which is read but not written

    def __str__(self) -> str:
        return f"{self.toolkit} {self.family}{self.version and f' ({self.version})'}"

    @cached_property
    def mark(self) -> re.Pattern[str]:
        return re.compile(self.marks)

    def to_ours(self, state: Mapping[str, Tensor]) -> Renamed:
        """Return tensors under our names. Raise ValueError if two get the same name, or one cannot be cut as its rule says."""
        return rename(state, self.rules, to_ours=True)

    def from_ours(self, state: Mapping[str, Tensor]) -> Renamed:
        """Return tensors under the toolkit's names; the unknown names include taps and laterals, which no toolkit has."""
        renamed = rename(state, self.rules, to_ours=False)
        if self.toolkit == "mmvit":
            return renamed
        fresh = {new for new, old in renamed.origin.items() if new == old and old.startswith(FRESH)}
        return Renamed(
            {name: value for name, value in renamed.tensors.items() if name not in fresh},
            {name: value for name, value in renamed.origin.items() if name not in fresh},
            (*renamed.unknown, *sorted(fresh)),
        )

    def drops_name(self, name: str) -> bool:
        return self.drops is not None and re.fullmatch(self.drops, name) is not None

"""What is known of a toolkit's names for one family's tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from .rules import Renamed, Rule, rename

FRESH = ("taps.", "laterals.")  # of ours; those that have a counterpart have a rule


@dataclass(frozen=True, eq=False)
class Layout:
    """Names of a toolkit for the tensors of a family.

    Attributes:
        toolkit: timm, huggingface, mmdet, mmpretrain, authors or mmvit.
        family: ours, such as `pvt_v2`.
        marks: pattern that the beginnings of some names in every such file match, and of no other layout's of the family.
        rules: the first that knows a name holds.
        drops: pattern of names without a counterpart in a backbone.
        eps: of all layer norms, where it is not the authors'.
        version: an older spelling of a toolkit's, which is read and not written.
    """

    toolkit: str
    family: str
    marks: str
    rules: tuple[Rule, ...]
    drops: str | None = None
    eps: float | None = None
    version: str = ""

    def __str__(self) -> str:
        return f"{self.toolkit} {self.family}{self.version and f' ({self.version})'}"

    @cached_property
    def mark(self) -> re.Pattern[str]:
        return re.compile(self.marks)

    def to_ours(self, state: Mapping[str, Tensor]) -> Renamed:
        """Raise ValueError for two tensors of one name, or one that cannot be cut as it should be."""
        return rename(state, self.rules, to_ours=True)

    def from_ours(self, state: Mapping[str, Tensor]) -> Renamed:
        """As `to_ours`; taps and laterals that no other network has are among the unknown names."""
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

"""Findings: what checks report, and how it is printed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from ..errors import InputError, brief

# Wrong: the run cannot begin, or its result cannot be what the config says. Doubtful: that may be meant. Not checked: nothing
# is known.
Verdict = Literal["ok", "wrong", "doubtful", "not checked"]


@dataclass(frozen=True)
class Finding:
    """Result of a check."""

    verdict: Verdict
    sentence: str  # the facts, the problem, or the reason why it was not checked
    remedy: str = ""  # what to do
    subject: str = ""  # what was checked, in a word or two; a check leaves it to `guarded` unless it is another than its own

    @property
    def text(self) -> str:
        return f"{self.sentence}. {self.remedy}" if self.remedy else self.sentence

    def about(self, subject: str) -> "Finding":
        """Return the finding with a subject, unless it names another."""
        return self if self.subject else replace(self, subject=subject)

    def __str__(self) -> str:
        return f"{self.verdict:11}  {self.subject:11}  {self.text.strip()}".replace("\n", "\n" + 26 * " ")


ok = partial(Finding, "ok")
wrong = partial(Finding, "wrong")
doubtful = partial(Finding, "doubtful")
not_checked = partial(Finding, "not checked")


def guarded(
    subject: str, check: Callable[..., Iterable[Finding]], *arguments: Any, unforeseen: Verdict = "not checked"
) -> Iterator[Finding]:
    """Yield the findings of a check; what it could not read is wrong, and any other exception of it is `unforeseen`."""
    try:
        for finding in check(*arguments):
            yield finding.about(subject)
    except InputError as error:
        yield wrong(str(error), subject=subject)
    except Exception as error:
        yield Finding(unforeseen, brief(error), subject=subject)

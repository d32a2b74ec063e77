"""Findings: what checks report."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

VERDICTS = {True: "ok", False: "FIX", None: "--"}


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        ok: whether all is well; None if it could not be checked.
        subject: what was checked, in a word or two.
        text: the facts if all is well, else the problem and its remedy, or the reason why it was not checked.
    """

    ok: bool | None
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{VERDICTS[self.ok]:3}  {self.subject:11}  {self.text.strip()}".replace("\n", "\n" + 18 * " ")


def guarded(subject: str, check: Callable[..., Iterable[Finding]], *arguments: Any) -> Iterator[Finding]:
    """Yield the findings of a check; an exception becomes a finding, too, because installations break in unforeseen ways."""
    try:
        yield from check(*arguments)
    except Exception as error:
        yield Finding(False, subject, brief(error))


def brief(error: BaseException) -> str:
    """Return the message of an InputError; of any other error, its type and its first paragraph on one line."""
    if isinstance(error, InputError):
        return str(error)
    words = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # str() of a KeyError adds quotes
    first = " ".join(words.strip().split("\n\n")[0].split())
    return f"{type(error).__name__}: {first}"

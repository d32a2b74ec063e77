"""What a check reports."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import InputError

VERDICTS = {True: "ok", False: "FIX", None: "--"}


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        ok: None where it could not be checked.
        told: the facts where all is well, else what is wrong and what to do, or why it was not checked; its first line stands
            beside `what`.
    """

    ok: bool | None
    what: str
    told: str

    def __str__(self) -> str:
        return f"{VERDICTS[self.ok]:3}  {self.what:11}  {self.told.strip()}".replace("\n", "\n" + 18 * " ")


def guarded(what: str, check: Callable[..., Iterable[Finding]], *arguments: Any) -> Iterator[Finding]:
    """The findings of a check; what it raises is a finding, too: users have installations that nobody has thought of."""
    try:
        yield from check(*arguments)
    except Exception as error:
        yield Finding(False, what, brief(error))


def brief(error: BaseException) -> str:
    """An error of the user's as it was told, any other with its type and without the lines after its first paragraph."""
    if isinstance(error, InputError):
        return str(error)
    words = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # str() of a KeyError adds quotes
    first = " ".join(words.strip().split("\n\n")[0].split())
    return f"{type(error).__name__}: {first}"

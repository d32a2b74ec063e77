"""Safe reading of checkpoints where torch's is not safe, or not exact enough.

Before 2.6, its unpickler takes no list of further classes and names: with the first entry, this module takes its place, so that
`weights_only=True` reads and refuses the same on every version. The functions that administer the list have the names and the
meaning of those in later `torch.serialization`. Before 2.12, torch reads beyond an archive whose tensors claim too much.
"""

import pickle
import sys
import tarfile
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

import torch

SIZES: ContextVar[dict[str, int] | None] = ContextVar("sizes", default=None)  # of the tensors in the archive that is read
ALLOWED: dict[str, Any] = {}  # by the names in files, beside what torch allows itself
# What later versions of torch allow themselves. A schedule with milestones, in any checkpoint of its training, is a Counter.
LATER: dict[str, Any] = {
    "collections.Counter": Counter,
    "builtins.set": set,
    "builtins.complex": complex,
    "torch.device": torch.device,
    **{str(dtype): dtype for dtype in (torch.bfloat16, torch.bool, torch.uint8)},
}
# Those of protocol 2, which torch writes. What the last line's import, call or change, `Unpickler` checks.
OPCODES = """
MARK STOP POP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING EMPTY_TUPLE TUPLE TUPLE1
TUPLE2 TUPLE3 EMPTY_LIST EMPTY_DICT EMPTY_SET BINGET LONG_BINGET BINPUT LONG_BINPUT PROTO
GLOBAL REDUCE NEWOBJ BUILD APPEND APPENDS SETITEM SETITEMS BINPERSID
"""


def get_safe_globals() -> list[Any]:
    return list(ALLOWED.values())


def add_safe_globals(entries: Sequence[Any]) -> None:
    """Allow classes and functions; an entry is one, or one with the name that files call it by."""
    torch.serialization._weights_only_unpickler = sys.modules[__name__]  # type: ignore[assignment]
    for entry in entries:
        value, name = entry if isinstance(entry, tuple) else (entry, f"{entry.__module__}.{entry.__name__}")
        ALLOWED[name] = value


@contextmanager
def safe_globals(entries: Sequence[Any]) -> Iterator[None]:
    """Allow classes and functions for a while."""
    before = dict(ALLOWED)
    add_safe_globals(entries)
    try:
        yield
    finally:
        ALLOWED.clear()
        ALLOWED.update(before)


def allowed() -> dict[str, Any]:
    return {**LATER, **torch._weights_only_unpickler._get_allowed_globals(), "_codecs.encode": _encode, **ALLOWED}


def _encode(text: str, encoding: str) -> bytes:
    """Return the bytes of an array; protocol 2 writes them as such a call."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"function _codecs.encode with {encoding!r} is not allowed")
    return text.encode(encoding)


class _Dispatch(dict):
    def __missing__(self, opcode: int) -> None:
        raise pickle.UnpicklingError(f"opcode {opcode} is not allowed")


_Python: Any = pickle._Unpickler  # type: ignore[attr-defined]  # its unpickler in Python, which can be extended


class Unpickler(_Python):
    """Python's unpickler, which imports, calls and changes nothing that was not allowed."""

    def find_class(self, module: str, name: str) -> Any:
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))  # protocol 2 has Python 2's
        found = allowed().get(f"{module}.{name}")
        if found is None:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is not allowed")
        return found

    def load_reduce(self) -> None:
        _require(self.stack[-2], allowed().values(), "function")
        super().load_reduce()

    def load_newobj(self) -> None:
        _require(self.stack[-2], (value for value in allowed().values() if isinstance(value, type)), "class")
        super().load_newobj()

    def load_build(self) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        _require(type(built), allowed().values(), "class")
        if type(built) is torch.Tensor:  # as files from before torch 1.0 have it
            built.set_(*state)
        elif hasattr(built, "__setstate__"):
            built.__setstate__(state)
        else:
            built.__dict__.update(state)

    def load_append(self) -> None:
        _require(type(self.stack[-2]), (list,), "class")
        super().load_append()

    def load_appends(self) -> None:
        _require(type(self.metastack[-1][-1]), (list,), "class")
        super().load_appends()

    def load_setitem(self) -> None:
        _require(type(self.stack[-3]), (dict, OrderedDict), "class")
        super().load_setitem()

    def load_setitems(self) -> None:
        _require(type(self.metastack[-1][-1]), (dict, OrderedDict), "class")
        super().load_setitems()

    def load_binpersid(self) -> None:
        _require_size(self.stack[-1])
        super().load_binpersid()


CODES = [getattr(pickle, name)[0] for name in OPCODES.split()]
Unpickler.dispatch = _Dispatch({code: getattr(Unpickler, _Python.dispatch[code].__name__) for code in CODES})


class _Sized(torch._weights_only_unpickler.Unpickler):
    """torch's unpickler, which checks what a tensor claims before it is told where to find it."""

    def __setattr__(self, name: str, value: Any) -> None:
        def sized(named: Any) -> Any:
            _require_size(named)
            return value(named)

        super().__setattr__(name, sized if name == "persistent_load" else value)


def _require_size(named: Any) -> None:
    if not (isinstance(named, tuple) and named and named[0] in ("storage", b"storage")):
        raise pickle.UnpicklingError("a reference to anything but a storage is not allowed")
    if (sizes := SIZES.get()) is not None:
        kind, key, _, number = named[1:5]
        claimed = number * torch._utils._element_size(getattr(kind, "dtype", torch.uint8))
        if claimed > sizes.get(str(key), 0):
            raise ValueError(f"tensor {key} claims {claimed} bytes, of which the file has {sizes.get(str(key), 0)}")


def _require(found: Any, known: Any, what: str) -> None:
    if not any(found is value for value in known):
        name = f"{getattr(found, '__module__', '')}.{getattr(found, '__name__', type(found).__name__)}"
        raise pickle.UnpicklingError(f"{what} {name} is not allowed")


def load(file: BinaryIO, **options: Any) -> Any:
    return Unpickler(file, **options).load()


def safe_load(file: str | Path | BinaryIO, map_location: Any) -> Any:
    """Call `torch.load` with `weights_only=True`, and check what torch checks from 2.12 on.

    Raises:
        pickle.UnpicklingError: the file is a TorchScript program, which torch would run, a tar archive, or holds something else
            than what is allowed.
        ValueError: a tensor claims more than its entry of the archive has; torch would read beyond it.
    """
    torch._weights_only_unpickler.Unpickler = _Sized  # type: ignore[misc]
    before = SIZES.set(sizes_of(file))
    try:
        return torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        if isinstance(error.__context__, RuntimeError):  # of a damaged file, which torch reports as an unsafe one
            raise error.__context__ from None
        raise
    finally:
        SIZES.reset(before)


def sizes_of(file: str | Path | BinaryIO) -> dict[str, int] | None:
    """Return the sizes of an archive's tensors in bytes; None if the file is no archive.

    Raises:
        pickle.UnpicklingError: it is a program or a tar archive.
    """
    if isinstance(file, str | Path):
        with Path(file).open("rb") as opened:
            return sizes_of(opened)
    start = file.tell()
    entries = zipfile.ZipFile(file).infolist() if zipfile.is_zipfile(file) else []
    file.seek(start)
    if any(entry.filename.endswith("/constants.pkl") for entry in entries) or (not entries and tarfile.is_tarfile(file)):
        raise pickle.UnpicklingError("a TorchScript program or a tar archive is not allowed")
    file.seek(start)
    parts = ((entry.filename.split("/"), entry.file_size) for entry in entries)
    return {names[-1]: size for names, size in parts if names[-2:-1] == ["data"]} if entries else None

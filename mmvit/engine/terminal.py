"""What a terminal shows of a run: a few lines before its first iteration, while the log file has everything."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger, print_log
from mmengine.logging.logger import MMFormatter

FOR_TERMINAL = "for_terminal"  # attribute of log records
OF_FILES = '"FileClient" will be deprecated', '"HardDiskBackend" is the alias'  # mmengine tells it of its own calls
PRINTING = ("pycocotools.coco", "pycocotools.cocoeval", "mmengine.logging.logger")  # modules that print what belongs into a log


class Plain(MMFormatter):
    """mmengine's format without blinking levels, and without colours where nobody sees them; our own lines stand alone."""

    def _get_prefix(self, level: str, color: bool, blink: bool = False) -> str:
        return super()._get_prefix(level, color, blink=False)

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if hasattr(record, FOR_TERMINAL) else super().format(record)


class Terminal(logging.Filter):
    """Filter that holds back everything but errors and our own lines, until a run has begun."""

    def __init__(self, begun: bool) -> None:
        super().__init__()
        self.begun = begun  # whether everything is shown
        self.first: list[tuple[str, str]] = []  # what records want to be in the first lines (`first_line`), with its label
        self.early: list[logging.LogRecord] | None = []  # of the time before there was a log file

    def filter(self, record: logging.LogRecord) -> bool:
        if self.early is not None:
            self.early.append(record)
        if label := getattr(record, "first_line", None):
            self.first.append((label, getattr(record, "text", record.getMessage())))
        shown = self.begun and not record.getMessage().startswith(OF_FILES)
        return shown or record.levelno >= logging.ERROR or hasattr(record, FOR_TERMINAL)

    def dress(self, logger: logging.Logger) -> None:
        """Take charge of what a logger shows in the terminal."""
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler and not handler.stream.closed:  # as of a run before, in a notebook
                handler.filters.insert(0, self)
                handler.setFormatter(Plain(color=handler.stream.isatty(), datefmt="%m/%d %H:%M:%S"))

    def keep_early(self, logger: logging.Logger) -> None:
        """Write what came before the run had a log file into the file of a logger, if it has one."""
        files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
        for record in (self.early or ()) if files else ():
            files[0].handle(record)
        self.early = None if files else self.early


@contextmanager
def terminal(verbose: bool) -> Iterator[Terminal]:
    """Show little until `begin`, unless `verbose`; warnings of libraries and what they print go to the log."""
    ours, made, shown = Terminal(verbose), MMLogger.__init__, warnings.showwarning

    def make(self: MMLogger, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        for handler in self.handlers:  # mmengine opens files in the system's encoding, which may lack a character
            if isinstance(handler, logging.FileHandler):
                handler.stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # it is open
        ours.dress(self)
        ours.keep_early(self)

    def tell(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        print_log(f"{filename}:{lineno}: {category.__name__}: {message}", logger="current")

    printing = [import_module(name) for name in PRINTING if find_spec(name.partition(".")[0])]
    for logger in MMLogger._instance_dict.values():
        ours.dress(logger)
    MMLogger.__init__ = make
    if not verbose:
        warnings.showwarning = tell  # type: ignore[assignment]
        for module in printing:
            vars(module)["print"] = _logged
    try:
        yield ours
    finally:
        MMLogger.__init__, warnings.showwarning = made, shown
        for module in printing:
            vars(module).pop("print", None)
        for logger in MMLogger._instance_dict.values():
            for handler in logger.handlers:
                handler.removeFilter(ours)


def near(*parts: str) -> str:
    """Return a path as one would type it here."""
    path = Path(*parts)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def terminal_of(logger: logging.Logger) -> Terminal | None:
    """Return the filter of a run's logger; None for a runner that was built without one."""
    found = (entry for handler in logger.handlers for entry in handler.filters if isinstance(entry, Terminal))
    return next(found, None)


def _logged(*words: Any, **_: Any) -> None:
    text = " ".join(str(word) for word in words)
    steps = text.strip().endswith(("...", "!")) or text.startswith(("Done (", "DONE (", "Evaluate annotation type"))
    print_log(text, logger="current", level=logging.DEBUG if steps else logging.INFO)

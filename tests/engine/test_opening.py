"""Before its first iteration, a run says little in the terminal, and everything in its log."""

import logging
import warnings
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from mmvit.engine.opening import ROWS, laid_out
from mmvit.engine.terminal import FOR_TERMINAL, Plain, Terminal, terminal

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("options", [0, 2, 6])
@pytest.mark.parametrize("findings", [0, 1, 30])
def test_few_rows(options: int, findings: int) -> None:
    lines = [("data", "words " * 40)] * 5 + [("option", "words " * 40)] * options
    doubtful = [("doubtful", f"number {number} " + "words " * 40) for number in range(findings)]
    rows = list(laid_out(lines, doubtful, 80))
    assert len(rows) <= ROWS <= 14
    assert all(len(row) <= 80 for row in rows)
    shown = sum(f"number {number} " in row for row in rows for number in range(findings))
    assert shown == findings or f"and {findings - shown} more in the log" in rows[-1]
    assert shown or not findings or options == 6


def test_what_a_terminal_shows() -> None:
    terminal, plain = Terminal(begun=False), Plain(color=True)
    ours, finding, theirs = (logging.makeLogRecord(dict(msg=msg, levelno=logging.WARNING)) for msg in ("a", "b", "c"))
    vars(ours)[FOR_TERMINAL] = True
    vars(finding).update(first_line="doubtful", text="data: few")
    assert [terminal.filter(record) for record in (ours, finding, theirs)] == [True, False, False]
    assert terminal.first == [("doubtful", "data: few")]
    terminal.begun = True
    assert terminal.filter(theirs)
    useless = dict(msg='"FileClient" will be deprecated in future. Please use io functions', levelno=logging.WARNING)
    assert not terminal.filter(logging.makeLogRecord(useless))
    assert plain.format(ours) == "a"
    assert "\x1b[5m" not in plain.format(theirs), "nothing blinks"
    assert plain.format(theirs).endswith(" - c")


@pytest.mark.parametrize("verbose", [False, True])
def test_the_log_has_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verbose: bool
) -> None:
    monkeypatch.setattr(logging.FileHandler.__init__, "__defaults__", ("a", "cp1252", False, None))  # as on Windows
    with terminal(verbose):
        MMLogger(f"early {verbose}").info("before there is a file")
        logger = MMLogger.get_instance(f"log {verbose}", log_file=str(tmp_path / "log"))
        logger.info("environment")
        logger.info("class 木")
        if not verbose:
            warnings.warn("a library's remark", stacklevel=1)
        logger.info("model", extra={FOR_TERMINAL: True})
    said, log = capsys.readouterr().out, (tmp_path / "log").read_text(encoding="utf-8")
    for words in ("before there is a file", "environment", "class 木", *(("a library's remark",) if not verbose else ())):
        assert words in log
        assert (words in said) == verbose
    assert "model" in said.splitlines()
    assert "model" in log

"""The pages of the documentation as tests read them: their blocks of code, and the commands in these."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from makers import HOME

README = HOME / "README.md"
PAGES = [*sorted(HOME.glob("*.md")), *sorted((HOME / "docs").glob("*.md")), *sorted((HOME / ".github").rglob("*.md"))]
OURS = ("configs/", "tools/", "tests/", "docs/", "mmvit/", "benchmarks/")  # what a command calls a file of the repository
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def file(self) -> str | None:
        """Name of the config that a block is: that of its first comment."""
        found = re.match(r"# (\w+\.py)\b", self.text)
        return found and found.group(1)


def blocks(page: Path) -> Iterator[Block]:
    content = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(content):
        yield Block(page, content.count("\n", 0, found.start()) + 2, found.group(1), found.group(2))


BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
CONFIGS = [block for block in PYTHON if re.search(r"^_base_ =", block.text, re.MULTILINE)]
SHELL = [block for block in BLOCKS if block.language in ("", "sh")]


def quoted(page: Path) -> list[str]:
    """Return the texts between backquotes outside of blocks."""
    return QUOTED.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell's text, without comments, redirections and variables in front."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set("();<>|&"):
                words.append(word)
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                yield words
            words = []

"""Prediction shared out over the processes that torchrun started.

Each process takes every N-th image, and writes below `.parts`, in the folder of the results, what a run by itself would write.
The first process joins the parts: ids, names of files and order are those of one process.
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from heapq import merge
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from .writing import Names

PARTS = ".parts"
SUFFIXES = dict(overlays=(".jpg", ".png", ".mp4"), labels=(".png", ".tif"))  # of the files of an image or a video
LONG = timedelta(days=30)  # a process waits for the others


class Share(NamedTuple):
    """Which of several processes this is, from 0, and how many there are."""

    rank: int = 0
    processes: int = 1
    group: Any = None  # torch's, of these processes

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def has(self, number: int) -> bool:
        """Return whether an image, by its place among all, is this process's."""
        return number % self.processes == self.rank

    def same(self, value: Any) -> Any:
        """Return the first process's value."""
        return self.all(value)[0]

    def all(self, value: Any) -> list[Any]:
        """Return the values of all processes. Raise InputError if one of them has ended."""
        if self.processes == 1:
            return [value]
        import torch

        found: list[Any] = [None] * self.processes
        try:
            torch.distributed.all_gather_object(found, value, self.group)
        except RuntimeError as error:
            raise InputError(f"process {self.rank}: another process has ended; its error is above") from error
        return found

    def require(self, parts: Path, journal: Path, resume: bool) -> None:
        """Raise InputError if one process left results where several begin or go on, or the other way round."""
        several = self.same(parts.is_dir())
        if several and self.processes == 1:
            advice = "Go on with torchrun, as many processes and --resume, or name another place with --out"
            raise InputError(f"{parts}: several processes were stopped. {advice}")
        if resume and not several and self.processes > 1:
            one = f"; one process left {journal}: go on without torchrun" if journal.is_file() else ""
            raise InputError(f"--resume: no {parts}, so several processes left nothing to go on with{one}")


ALONE = Share()


def start() -> Share:
    """Return this process's share of the work, and find the other processes if torchrun started several."""
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        return ALONE
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    torch.distributed.init_process_group("gloo")
    group = torch.distributed.new_group(timeout=LONG)  # to find each other, processes do not wait as long
    return Share(torch.distributed.get_rank(), count, group)


def joined(parts: dict[Path, Iterator[dict[str, Any]]], out: Path, names: Names) -> Iterator[dict[str, Any]]:
    """Yield the lines of the parts' journals in the order of one process, after moving the files of each image to `out`.

    Each part has its folder and the lines of its journal; `names` are those of files in `out`.
    """
    films: dict[str, str] = {}  # names of their files
    labelled = (zip((line for line in lines if "order" in line), repeat(part), strict=False) for part, lines in parts.items())
    for line, part in merge(*labelled, key=lambda entry: entry[0].pop("order")):
        old, film = line["name"], line.get("film")
        if film is None:
            line["name"] = names.new(line["source"])
        else:  # a line for each frame, and one for the end
            films[film] = films.get(film) or names.new(film)
            line["name"] = films[film] + ("" if "frames" in line else old[old.rindex("_") :])
        for folder, suffixes in SUFFIXES.items():
            for suffix in suffixes:
                if (made := part / folder / f"{old}{suffix}").is_file():
                    (out / folder).mkdir(exist_ok=True)
                    made.replace(out / folder / f"{line['name']}{suffix}")
        if label_map := line.get("image", {}).get("label_map"):
            line["image"]["label_map"] = str(out / "labels" / f"{line['name']}{Path(label_map).suffix}")
        yield line

"""The content of a checkpoint file as one flat dict of tensors, where containers and prefixes of names are the same.

`{"model_ema": {"module.x": ...}}` and `{"model_ema.module.x": ...}` both hold `model_ema.module.x`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from .archives import read_checkpoint, require_real
from .downloads import fetch

DEEPEST = 12  # most parts in a prefix, and most containers inside each other
AVERAGED = re.compile(r"(^|[._])(ema|teacher|averaged?|avg|swa)([._]|$)")
SWAPPED = "ema_state_dict"  # mmengine saves averaged weights as state_dict, raw ones under this key, with the count `steps`


@dataclass(frozen=True)
class Contents:
    """Tensors of a file by their full names, and its metadata."""

    source: str  # how messages name the file
    tensors: Mapping[str, Tensor]
    containers: tuple[str, ...]  # prefixes that are containers of the file, such as `state_dict.`, outermost first
    meta: Mapping[str, Any]  # the metadata that mmengine or `mmvit publish` wrote

    def is_averaged(self, prefix: str) -> bool:
        """Return whether the name of a prefix says that its tensors are weights averaged over a training."""
        if f"{SWAPPED}.steps" in self.tensors:
            return prefix.startswith("state_dict.")
        return AVERAGED.search(prefix) is not None

    def starts(self, prefix: str) -> tuple[str, ...]:
        """Return the full prefixes that a user's prefix may mean: at the root of the file, or in a container."""
        return (prefix, *(container + prefix for container in self.containers))

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with a prefix, by the rest of their names."""
        return {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}

    def prefixes(self) -> Counter[str]:
        """Count the names below each prefix, the empty one included."""
        return Counter(prefix for name in self.tensors for prefix, _ in cuts(name))


def read_contents(source: str | Path, sha256: str | None = None) -> Contents:
    """Read a checkpoint file or URL. Raise CheckpointError as `fetch`, `read_checkpoint` and `contents_of` do."""
    path = fetch(source, sha256)
    return contents_of(read_checkpoint(path, source), path, source)


def contents_of(content: Any, path: Path, source: str | Path) -> Contents:
    """Return the contents of a checkpoint that `read_checkpoint` returned; messages name it as `source`.

    Raises:
        CheckpointError: it holds no tensors, or see `require_real`.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{source} holds a {type(content).__name__}, expected a dict of tensors")
    tensors: dict[str, Tensor] = {}
    containers = []
    for prefix, names in _mappings(content):
        containers.append(prefix)
        tensors.update({f"{prefix}{name}": value for name, value in names.items() if name not in (".", "")})
    if not tensors:
        kinds = ", ".join(f"{key} ({type(value).__name__})" for key, value in list(content.items())[:8]) or "nothing"
        raise CheckpointError(f"{source} holds no tensors, neither at its root nor in its dicts. It holds {kinds}")
    require_real(tensors, path, source)
    meta = content.get("meta")
    return Contents(str(source), tensors, tuple(filter(None, containers)), meta if isinstance(meta, Mapping) else {})


def _mappings(content: Mapping) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield each mapping of a file that holds tensors directly, once, with its prefix."""
    seen = set()
    waiting: list[tuple[str, Mapping, int]] = [("", content, 0)]
    while waiting:
        prefix, mapping, depth = waiting.pop(0)
        if id(mapping) in seen:
            continue
        seen.add(id(mapping))
        entries = {key: value for key, value in mapping.items() if isinstance(key, str)}
        if tensors := {key: value for key, value in entries.items() if isinstance(value, Tensor)}:
            yield prefix, tensors
        if depth < DEEPEST:
            waiting += [(f"{prefix}{key}.", value, depth + 1) for key, value in entries.items() if isinstance(value, Mapping)]


def cuts(name: str) -> Iterator[tuple[str, str]]:
    """Yield each way to cut a name into a prefix, which may be empty, and the rest."""
    yield "", name
    start = 0
    for _ in range(DEEPEST):
        start = name.find(".", start) + 1
        if start == 0 or start == len(name):
            return
        yield name[:start], name[start:]


def common_prefixes(contents: Contents) -> list[str]:
    """Return the prefixes that most names share, at most eight, with the number of names."""
    counts = contents.prefixes()
    whole = counts.pop("")
    shown: list[tuple[str, int]] = []
    for prefix, count in sorted(counts.items(), key=lambda item: (-item[1], len(item[0]))):
        inner = [seen for seen, _ in shown if prefix.startswith(seen) or seen.startswith(prefix)]
        if count > 1 and not (inner and count < whole // 4):
            shown.append((prefix, count))
    return [f"{prefix} ({count})" for prefix, count in shown[:8]]

"""Fonts for the names of classes in any script."""

import sys
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

NEEDED = "Install one that has them: on Debian and Ubuntu, fonts-noto-core, and fonts-noto-cjk for Chinese, Japanese and Korean"


@cache
def font_file(words: str) -> str | None:
    """Return the file of a font that has all characters of a text, None if this machine has none.

    DejaVu, which matplotlib brings, has Latin, Greek, Cyrillic and more; other scripts take a font of the system.
    """
    from matplotlib import font_manager, get_data_path

    wanted = {ord(character) for character in words if not character.isspace()}
    if wanted <= characters(own := str(Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf"))):
        return own
    files = sorted(font_manager.findSystemFonts(), key=lambda file: ("regular" not in file.lower(), file))
    found = next((file for file in files if wanted <= characters(file)), None)
    if found is None:
        _tell()
    return found


@cache
def characters(file: str) -> frozenset[int]:
    """Return the characters of a font; none if it cannot be drawn in any size."""
    from matplotlib.ft2font import FT2Font

    try:
        font(file, 12)
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(64)
def font(file: str, size: int) -> Any:
    """Return Pillow's font of a file in a size in pixels."""
    from PIL import ImageFont

    return ImageFont.truetype(file, size)


@cache
def _tell() -> None:
    """Say, once, why names are missing."""
    print(f"some names of classes are drawn as numbers: no font here has their characters. {NEEDED}", file=sys.stderr)

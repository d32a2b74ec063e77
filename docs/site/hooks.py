"""What MkDocs does not do by itself: pages from the repository's top level, the README as the first, and links out of docs/."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

HOME = Path(__file__).parent.parent.parent
LINK = re.compile(r"(\]\(|\]: |src=\")(?!https?:|#|mailto:)([^)\s\"]+)")
TOP = {page: "index.md" if page.name == "README.md" else page.name for page in sorted(HOME.glob("*.md"))}


def on_files(files: Any, config: Any) -> Any:
    for page, place in TOP.items():
        files.append(File.generated(config, place, content=page.read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links are relative to the page's file in the repository. Files outside of docs/ that they lead to go with the site."""
    top = page.file.src_uri in TOP.values()
    folder = HOME if top else (HOME / "docs" / page.file.src_uri).parent

    def moved(link: re.Match) -> str:
        path, mark, anchor = link[2].partition("#")
        target = (folder / path).resolve()
        if target in TOP:
            place = TOP[target]
        elif target.is_relative_to(HOME / "docs"):
            place = path.removeprefix("docs/") if top else path
        else:
            place = f"repository/{target.relative_to(HOME)}"
            if target.is_file() and files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(target)))
        return f"{link[1]}{place}{mark}{anchor}"

    return LINK.sub(moved, markdown)

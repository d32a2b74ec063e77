"""What MkDocs does not do by itself: pages from the repository's top level, the README as the first, pages from notebooks, and
links out of docs/."""

import json
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
    for notebook in sorted((HOME / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page_of(notebook)))
    return files


def page_of(notebook: Path) -> str:
    """Return a notebook as Markdown: its texts, its code in fences, and a link to itself below the title."""
    parts = []
    for cell in json.loads(notebook.read_text())["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    title, _, rest = parts[0].partition("\n")
    return "\n\n".join([title, f"[Download this notebook]({notebook.name})", rest, *parts[1:]]) + "\n"


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
            if target.suffix == ".ipynb" and target.stem != Path(page.file.src_uri).stem:
                place = str(Path(place).with_suffix(".md"))
        else:
            place = f"repository/{target.relative_to(HOME)}"
            if target.is_file() and files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(target)))
        return f"{link[1]}{place}{mark}{anchor}"

    return LINK.sub(moved, markdown)

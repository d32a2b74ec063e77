"""What MkDocs does not do by itself: pages from the repository's top level, the README as the first, pages from notebooks, and
links out of docs/."""

import json
import re
from base64 import b64decode
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
        page, pictures = page_of(notebook)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def page_of(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and the pictures among its outputs by name.

    The page has its texts, its code and outputs in fences, and a link to itself below the title.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(notebook.read_text())["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{notebook.stem}_{len(pictures)}.png"
                pictures[name] = b64decode("".join(data["image/png"]))
                parts.append(f"![Output of the code above]({name})")
            else:
                told = "".join(output.get("text") or data["text/plain"]).strip("\n")
                parts.append(f"``` {{ .text .output }}\n{told}\n```")
    title, _, rest = parts[0].partition("\n")
    return "\n\n".join([title, f"[Download this notebook]({notebook.name})", rest, *parts[1:]]) + "\n", pictures


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

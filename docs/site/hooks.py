"""What MkDocs does not do by itself: the README as the first page, and links out of docs/ to files of the repository."""

import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

HOME = Path(__file__).parent.parent.parent
LINK = re.compile(r"(\]\(|\]: |src=\")(?!https?:|#|mailto:)([^)\s\"]+)")


def on_config(config: Any) -> Any:
    """The repository's address stands in pyproject.toml."""
    urls = tomllib.loads((HOME / "pyproject.toml").read_text())["project"].get("urls", {})
    config.repo_url = config.repo_name = urls.get("Repository", "..")
    return config


def on_files(files: Any, config: Any) -> Any:
    files.append(File.generated(config, "index.md", content=(HOME / "README.md").read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links are relative to the page's file in the repository; those that leave docs/ go to the repository."""
    folder = HOME if page.file.src_uri == "index.md" else (HOME / "docs" / page.file.src_uri).parent

    def moved(link: re.Match) -> str:
        path, mark, anchor = link[2].partition("#")
        target = (folder / path).resolve()
        if target == HOME / "README.md":
            place = "index.md"
        elif target.is_relative_to(HOME / "docs"):
            place = path.removeprefix("docs/")
        else:
            place = f"{config.repo_url}/{'tree' if target.is_dir() else 'blob'}/main/{target.relative_to(HOME)}"
        return f"{link[1]}{place}{mark}{anchor}"

    return LINK.sub(moved, markdown)

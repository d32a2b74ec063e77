"""Put configs/ and tools/ into the wheel, as mmvit/.mim like mmdet's and mmseg's, and links into its metadata.

All else is in pyproject.toml. Links begin with `REPOSITORY` of mmvit/version.py; without one, there are none.

An editable install needs no copies: the package finds these folders beside it (`mmvit.config.files.shipped`).
"""

import re
import runpy
from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("configs", "tools")
DEVELOPERS = ("benchmark.py", "gpu.py", "gpu_bundle.sh", "long_checks.py", "mutants.py", "stress_resume.py")  # need a clone


class BuildWithFolders(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in FOLDERS:
            target = Path(self.build_lib) / "mmvit" / ".mim" / folder
            rmtree(target, ignore_errors=True)  # of an earlier build, perhaps with files that are gone since
            copytree(folder, target, ignore=ignore_patterns("__pycache__", "node_modules", "dist", ".*", *DEVELOPERS))


def urls(repository: str) -> dict[str, str]:
    """Return the links of the package's page."""
    places = {"Source": "", "Documentation": "/blob/main/README.md#documentation", "Changelog": "/blob/main/CHANGELOG.md"}
    return {name: repository + place for name, place in (places | {"Issues": "/issues"}).items()} if repository else {}


def description(text: str, repository: str) -> str:
    """Return the README with links that lead to the repository from anywhere."""

    def absolute(link: re.Match) -> str:
        kind = "raw" if link[1] else "blob"
        return f"{link[1] or ''}[{link[2]}]({repository}/{kind}/main/{link[3]})"

    return re.sub(r"(!)?\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)", absolute, text) if repository else text


if __name__ == "__main__":
    home = Path(__file__).parent
    REPOSITORY = runpy.run_path(str(home / "mmvit" / "version.py"))["REPOSITORY"]
    setup(
        cmdclass={"build_py": BuildWithFolders},
        project_urls=urls(REPOSITORY),
        long_description=description((home / "README.md").read_text(encoding="utf-8"), REPOSITORY),
        long_description_content_type="text/markdown",
    )

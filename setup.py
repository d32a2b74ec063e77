"""Put configs/ and tools/ into the wheel, as mmvit/.mim like mmdet's and mmseg's; all else is in pyproject.toml.

An editable install needs no copies: the package finds these folders beside it (`mmvit.config.files.shipped`).
"""

from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("configs", "tools")
DEVELOPERS = ("benchmark.py", "gpu.py", "gpu_bundle.sh", "long_checks.py", "stress_resume.py")  # need benchmarks/


class BuildWithFolders(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in FOLDERS:
            target = Path(self.build_lib) / "mmvit" / ".mim" / folder
            rmtree(target, ignore_errors=True)  # of an earlier build, perhaps with files that are gone since
            copytree(folder, target, ignore=ignore_patterns("__pycache__", "node_modules", "dist", ".*", *DEVELOPERS))


setup(cmdclass={"build_py": BuildWithFolders})

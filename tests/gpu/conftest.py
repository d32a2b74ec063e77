"""Tests of a device: the order in which they run, and failures that are printed at once, since a time limit may end the run."""

import sys

import pytest

# Parts of names, in this order; what has none of them comes last, and of what has several the last one counts.
ORDER = ("test_device_operators", "test_device_backbones", "float16", "compiled", "training")


def place(name: str) -> int:
    if "training" in name and "-float16]" in name:
        return ORDER.index("float16")
    return max((index for index, part in enumerate(ORDER) if part in name and part != "float16"), default=len(ORDER))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place(item.nodeid) if item.get_closest_marker("gpu") else len(ORDER))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and "tests/gpu" in report.nodeid:
        print(f"\n{report.nodeid}\n{report.longreprtext}", file=sys.__stderr__, flush=True)

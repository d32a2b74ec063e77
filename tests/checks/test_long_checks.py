"""The quick form of `tools/long_checks.py`: some of what it runs for hours, so that it keeps working."""

import pytest

from benchmarks.long_checks import main

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    "arguments",
    [
        ["random", "--files", "200", "--seed", "4242"],
        pytest.param(["stock", "--every", "97"], marks=pytest.mark.slow),
        pytest.param(["swapped", "--every", "40"], marks=pytest.mark.slow),
    ],
    ids=lambda arguments: arguments[0],
)
def test_quick_form(arguments: list[str]) -> None:
    assert main(arguments) == 0

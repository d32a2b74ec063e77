"""Every test sees mmcv through the stand-in, as a user does after `import mmvit`."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mmvit  # noqa: F401  (before anything imports mmcv.ops)

LONGEST = ("test_tools.py", "test_leaves.py")


def pytest_collection_modifyitems(items: list) -> None:
    """The longest files first, so that the other worker has enough to do while one is at them."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))

"""Models that several files predict with: of each head one a process."""

from collections.abc import Callable
from functools import cache

import pytest
from trained import Trained


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    return cache(lambda head: Trained(head, tmp_path_factory.mktemp(head)))


@pytest.fixture(scope="session")
def detector(model_of: Callable[[str], Trained]) -> Trained:
    return model_of("retinanet")

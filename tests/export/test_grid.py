"""Every head with every family exports as ONNX."""

from itertools import product
from pathlib import Path

import pytest
from exports import Export
from families import FAMILIES
from makers import needs_heads
from test_export import HEADS as EXPORTED  # these are tried there
from tiny import CHANGES

pytestmark = [pytest.mark.slow, needs_heads]
TRIED = {getattr(name, "values", (name,))[0] for name in EXPORTED}
CELLS = {f"{head}-{family.name}" for head, family in product(CHANGES, FAMILIES)} - TRIED


@pytest.mark.parametrize("name", sorted(CELLS))
def test_a_pair_exports(name: str, exporting: Export, photographs: Path) -> None:
    # The command compares it with the model at five sizes.
    exporting(name).require_same(photographs / "0.png", least=0)

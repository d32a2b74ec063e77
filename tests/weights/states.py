"""Tensors of tiny networks as files hold them, and files that load nothing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, Family, released_state

from mmvit.errors import CheckpointError
from mmvit.weights.loading import load_pretrained

BY_NAME = {family.name: family for family in FAMILIES}
PVT = BY_NAME["PVT"]
State = dict[str, Any]
Write = Callable[..., Path]  # the fixture `write`: from a content and a name to the file


def under(prefix: str, state: Mapping[str, Any]) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def released(family: Family = PVT, seed: int = 0, **changed: torch.Tensor) -> State:
    """The tensors of a whole, good file of the authors', some of them replaced."""
    torch.manual_seed(seed)
    model = family.build()
    model.init_weights()
    state = released_state(family, model)
    assert set(changed) <= set(state)
    return state | changed


def refused(file: Path, match: str, family: Family = PVT) -> None:
    """Fail unless the file loads nothing, with a message that names it."""
    model = family.build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=match) as raised:
        load_pretrained(model, file)
    assert str(file) in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def mmdet_sizes(sizes: dict[str, Any]) -> dict[str, Any]:
    """Sizes of a PVT or PVTv2 as mmdet's own backbones take them."""
    return dict(
        embed_dims=sizes["dims"][0],
        num_layers=sizes["depths"],
        num_heads=sizes["heads"],
        sr_ratios=sizes["reductions"],
        mlp_ratios=sizes["mlp_ratios"],
        drop_path_rate=0.0,
    )

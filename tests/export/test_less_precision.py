"""Networks of half precision, without writing a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import write_checkpoint, write_config

from mmvit.export.models import from_config
from mmvit.export.precision import halved
from mmvit.export.verify import agreement, pictures

pytestmark = [pytest.mark.stack, pytest.mark.once]


@pytest.mark.parametrize("name", ["retinanet-PVTv2", "mask_rcnn-VAN", "fpn-PVT"])
def test_half_precision_finds_the_same(name: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, *name.split("-"))
    exportable = from_config(config, write_checkpoint(config))
    program = halved(exportable.program)
    assert {parameter.dtype for parameter in program.model.backbone.parameters()} == {torch.float16}
    assert {parameter.dtype for parameter in exportable.model.parameters()} == {torch.float32}

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = program(*(torch.from_numpy(np.asarray(feed[name])) for name in program.inputs))
        return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]

    assert agreement(exportable, run, pictures([(203, 277)])[0]) > 0.95

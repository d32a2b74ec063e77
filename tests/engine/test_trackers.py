"""Trackers of experiments."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.registry import VISBACKENDS

from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.engine.trackers import TRACKERS
from mmvit.errors import InputError

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tracker = TRACKERS[name]
    options = TrainOptions("fpn_van_b0_ade20k", tmp_path / "run", track=[name])
    monkeypatch.setitem(sys.modules, tracker.package, None)
    with pytest.raises(InputError, match=f"--{name}: .*pip install {tracker.package}"):
        train_config(options)
    monkeypatch.setitem(sys.modules, tracker.package, ModuleType(tracker.package))
    entry = train_config(options).visualizer.vis_backends[-1]
    assert entry == dict(type=tracker.backend, **tracker.settings("fpn_van_b0_ade20k", "run"))
    kind = VISBACKENDS.get(entry.pop("type"))
    kind(save_dir=str(tmp_path), **entry)  # takes the settings; the package is imported with the first figure

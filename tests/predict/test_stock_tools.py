"""`mmvit run`: every tool of the toolkits by its name."""

import pytest

from mmvit.__main__ import main
from mmvit.commands.run import tools

pytestmark = pytest.mark.stack


def test_tools_are_listed_and_found(capsys: pytest.CaptureFixture) -> None:
    for toolkit in ("mmdet", "mmseg"):
        assert main(["run", toolkit]) == 0
        listed = capsys.readouterr().out.splitlines()
        assert len(listed) == len(tools(toolkit)) > 20
        assert any(line.startswith("analysis_tools/confusion_matrix  ") for line in listed)
    assert main(["run", "mmdet", "confusion_matri"]) == 2
    assert "did you mean confusion_matrix" in capsys.readouterr().err
    assert main(["run", "mmseg", "browse_dataset"]) == 2
    assert "analysis_tools/browse_dataset and misc/browse_dataset" in capsys.readouterr().err
    assert main(["run", "mmdet", "demo/image_demo.py"]) == 2
    assert "use python -m mmvit predict" in capsys.readouterr().err
    assert main(["run", "mmpose"]) == 2

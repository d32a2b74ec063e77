"""The stand-in for mmcv._ext as a module: who finds it, what it holds, what it refuses."""

import sys
import textwrap
from pathlib import Path

import mmcv.ops
import pytest
import torch
from makers import run_python
from mmcv.utils.ext_loader import check_ops_exist

from mmvit.compat import operators

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not operators.is_supplied(), reason="a compiled mmcv is installed here and takes over"),
]


def test_install_twice_adds_one_finder():
    before = list(sys.meta_path)
    operators.install()
    assert sys.meta_path == before
    assert sum(type(finder) is operators._Finder for finder in before) == 1


def test_mmcv_sees_its_operators():
    assert check_ops_exist()
    assert operators.is_supplied()
    assert "mmvit" in mmcv.ops.get_compiler_version()
    assert mmcv.ops.get_compiling_cuda_version() == "not available"


def test_every_supplied_name_is_in_the_module():
    names = [name for names in operators.SUPPLIED.values() for name in names]
    assert len(names) == len(set(names)) == 40
    for name in names:
        assert name in vars(sys.modules["mmcv._ext"]), name


def test_other_operators_exist_and_say_what_to_do():
    boxes, points = torch.rand(1, 2, 7), torch.rand(1, 5, 3)
    with pytest.raises(NotImplementedError, match=r"'points_in_boxes_cpu_forward' needs a compiled mmcv.*torch 2\.10"):
        mmcv.ops.points_in_boxes_cpu(points, boxes)


def test_private_names_do_not_exist():
    extension = sys.modules["mmcv._ext"]
    assert not hasattr(extension, "__path__")
    assert not hasattr(extension, "_private")


ALONE = """
    import importlib.util, sys, types
    from importlib.machinery import PathFinder
    spec = PathFinder.find_spec("operators", [{folder!r}])
    operators = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(operators)
    sys.path = [{path!r}, *(entry for entry in sys.path if "site-packages" not in entry)]
    operators.install()
"""

PLANTED = """
    class Planted:
        def find_spec(self, name, path=None, target=None):
            if name == "mmcv._ext":
                return importlib.util.spec_from_loader(name, self, origin="planted")
        def create_module(self, spec):
            module = types.ModuleType(spec.name)
            module.marker = "compiled"
            return module
        def exec_module(self, module):
            pass
"""


def run_alone(path: Path, *scripts: str) -> str:
    """What `scripts` print in a new process with the stand-in installed by itself, and no packages but those in `path`."""
    folder = str(Path(operators.__file__).parents[1])
    whole = [textwrap.dedent(script) for script in (ALONE.format(folder=folder, path=str(path)), *scripts)]
    return run_python("-c", "\n".join(whole)).stdout.strip()


@pytest.fixture
def empty_mmcv(tmp_path: Path) -> Path:
    """A folder with a package `mmcv` that holds nothing."""
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    return tmp_path


def test_found_where_nothing_else_is(empty_mmcv):
    script = "print(operators.is_supplied(), importlib.util.find_spec('mmcv._ext').origin)"
    assert run_alone(empty_mmcv, script) == "True stand-in of operators"


@pytest.mark.parametrize("order", ["sys.meta_path.insert(0, Planted())", "sys.meta_path.append(Planted())"])
def test_another_finder_wins_wherever_it_stands(empty_mmcv, order):
    script = "before = operators.is_supplied(); import mmcv._ext; print(before, operators.is_supplied(), mmcv._ext.marker)"
    assert run_alone(empty_mmcv, PLANTED, order, script) == "False False compiled"


def test_a_file_beside_mmcv_wins(empty_mmcv):
    (empty_mmcv / "mmcv" / "_ext.py").write_text("marker = 'compiled'")
    script = "before = operators.is_supplied(); import mmcv._ext; print(before, operators.is_supplied(), mmcv._ext.marker)"
    assert run_alone(empty_mmcv, script) == "False False compiled"


def test_harmless_without_mmcv(tmp_path):
    assert run_alone(tmp_path, "print(operators.is_supplied(), importlib.util.find_spec('mmcv'))") == "False None"


def test_install_imports_nothing_heavy(empty_mmcv):
    script = "print([name for name in ('torch', 'torchvision', 'mmcv', 'mmengine', 'numpy') if name in sys.modules])"
    assert run_alone(empty_mmcv, "operators.is_supplied()", script) == "[]"


def test_mmdet_trains_and_predicts():
    """A detector with RoI align, NMS and deformable convolutions, of a size that takes a second or two."""
    pytest.importorskip("mmdet")
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules
    from mmengine.config import Config
    from mmengine.structures import InstanceData
    from mmengine.utils import get_installed_path

    register_all_modules()
    folder = get_installed_path("mmdet")
    config = Config.fromfile(f"{folder}/.mim/configs/dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py").model
    config.backbone.update(depth=50, base_channels=8, init_cfg=None)
    config.neck.update(in_channels=[32, 64, 128, 256], out_channels=16)
    config.rpn_head.update(in_channels=16, feat_channels=16)
    config.roi_head.bbox_roi_extractor.out_channels = 16
    config.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32)
    torch.manual_seed(0)
    model = MODELS.build(config)
    samples = []
    for count in (2, 0):
        sizes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), (96, 128))
        truth = InstanceData(
            bboxes=torch.tensor([[5.0, 5, 40, 50], [30, 20, 90, 60]])[:count], labels=torch.tensor([1, 7])[:count]
        )
        samples.append(DetDataSample(metainfo=sizes | dict(scale_factor=(1.0, 1.0)), gt_instances=truth))
    images = torch.rand(2, 3, 96, 128)
    losses = model(images, samples, mode="loss")
    sum(sum(loss) if isinstance(loss, list) else loss for name, loss in losses.items() if "loss" in name).backward()
    offsets = [p for name, p in model.named_parameters() if "conv2.weight" in name and "layer3" in name]
    assert offsets
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in offsets)
    with torch.no_grad():
        predicted = model.eval()(images, samples, mode="predict")
    assert len(predicted) == 2
    assert all(p.pred_instances.scores.isfinite().all() for p in predicted)

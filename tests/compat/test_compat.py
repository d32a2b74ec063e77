"""What importing mmvit does to the process, and what it does not. Subprocesses, because it happens once a process."""

import os
from functools import partial
from importlib import metadata, util
from pathlib import Path

import mmengine.config.utils
import pytest
from makers import HOME, run_python
from mmengine.utils import get_installed_path, is_installed

from mmvit.compat import engine
from mmvit.errors import InputError

pytestmark = pytest.mark.stack

FOLDER = HOME / "configs"
run = partial(run_python, "-c")


def test_import_is_light() -> None:
    done = run(
        "import sys, mmvit; print([name for name in ('torch', 'mmdet', 'mmseg', 'mmcv', 'timm') if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_import_leaves_the_file_backend_alone() -> None:
    """Files are written whole by the loops and the hook that promise it, not by everybody who imports a backbone."""
    code = (
        "import mmvit; from mmengine.fileio import LocalBackend, get_file_backend\n"
        "mmvit.create('van_b0'); print(type(get_file_backend('a.pth')).__name__)\n"
        "from mmengine.registry import HOOKS; HOOKS.build(dict(type='mmvit.CheckpointHook', interval=1))\n"
        "print(type(get_file_backend('a.pth')).__name__)"
    )
    assert run(code).stdout.split() == ["LocalBackend", "WholeFiles"]


def test_switched_off_by_the_environment() -> None:
    code = (
        "import torch, mmvit, importlib.util; from mmvit.compat.checkpoints import serialization\n"
        "print(importlib.util.find_spec('mmcv._ext') is None, 'HistoryBuffer' in str(serialization().get_safe_globals()))"
    )
    if is_compiled():
        pytest.skip("mmcv is compiled here: nothing is supplied in the first place")
    assert run(code, MMVIT_COMPAT="0").stdout.strip() == "True False"
    assert run(code).stdout.strip() == "False True"


def is_compiled() -> bool:
    spec = util.find_spec("mmcv")
    return any(file for folder in spec.submodule_search_locations for file in Path(folder).glob("_ext.*so"))


@pytest.mark.parametrize("start", ["", "import mmvit, mmdet.registry"])
def test_import_errors_surface_as_themselves(start: str, tmp_path: Path) -> None:
    """A dependency that fails to import, with or without `import mmvit` first, from mmdet's scope, and asked for twice."""
    (tmp_path / "timm.py").write_text("raise ImportError('timm is broken on this machine')")
    registry = "mmdet" if "mmdet" in start else "mmengine"
    code = (
        f"{start}\nfrom {registry}.registry import MODELS\n"
        "for attempt in range(2):\n"
        "    try:\n"
        "        MODELS.build(dict(type='mmvit.VAN', arch='b0'))\n"
        "    except Exception as error:\n"
        "        print(f'{type(error).__name__}: {error}')"
    )
    done = run(code, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert done.stdout.strip().splitlines() == ["ImportError: timm is broken on this machine"] * 2, done.stderr


def test_mmengine_finds_packages() -> None:
    assert is_installed("torch")
    assert is_installed("mmengine")
    assert not is_installed("no_such_package_here")
    assert Path(get_installed_path("mmdet"), "__init__.py").is_file()
    distribution = mmengine.config.utils.MODULE2PACKAGE["mmseg"]
    assert metadata.distribution(distribution)
    assert Path(get_installed_path(distribution)) == Path(util.find_spec("mmseg").origin).parent


@pytest.mark.skipif(util.find_spec("pkg_resources") is not None, reason="mmengine asks pkg_resources, which has its own error")
def test_missing_packages_are_import_errors_without_pkg_resources() -> None:
    with pytest.raises(ImportError):
        get_installed_path("no_such_package_here")


def test_mmcv_is_found_without_find_loader() -> None:
    """As Python 3.14 is, on any Python."""
    code = (
        "import pkgutil; vars(pkgutil).pop('find_loader', None); import mmvit\n"
        "from mmengine.utils.dl_utils import mmcv_full_available; from mmcv.utils.ext_loader import check_ops_exist\n"
        "print(mmcv_full_available(), check_ops_exist(), pkgutil.find_loader('no_such_module'))"
    )
    done = run(code)
    assert done.stdout.strip() == "True True None", done.stderr


def test_bases_of_other_packages_are_found() -> None:
    from mmengine.config import Config

    cfg = Config.fromstring("_base_ = 'mmseg::_base_/models/fpn_r50.py'\nfound = True", ".py")
    assert cfg.model.decode_head.type == "FPNHead"


def test_a_config_is_formatted_again_only_if_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    import yapf
    from mmengine.config import Config

    formatted = []
    for module in (mmengine.config.config, yapf.yapflib.yapf_api):  # the stacks import it at different places
        monkeypatch.setattr(module, "FormatCode", lambda code, **_: (formatted.append(code) or code, False), raising=False)
    cfg = Config(dict(model=dict(layers=[dict(width=1)])))
    assert "width=1" in cfg.pretty_text
    assert cfg.pretty_text == cfg.copy().pretty_text
    assert len(formatted) == 1
    cfg.model.layers[0].width = 2
    assert "width=2" in cfg.pretty_text


def test_our_configs_are_bases(tmp_path: Path) -> None:
    """By name and by path; what is taken from a base by name keeps the meaning that mmdet gives to its types."""
    from mmengine.config import Config

    own = "model = dict(neck=dict(num_outs=4))\ntrain_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))"
    by_name = Config.fromstring(f"_base_ = 'mmvit::retinanet_pvt_small_coco.py'\n{own}", ".py")
    path = os.path.relpath(FOLDER / "retinanet_pvt_small_coco.py", tmp_path)
    (tmp_path / "by_path.py").write_text(f"_base_ = {path!r}\n{own}")
    assert Config.fromfile(tmp_path / "by_path.py").to_dict() == by_name.to_dict()
    assert by_name.model.neck.num_outs == 4
    assert by_name.model.backbone.arch == "small"
    assert "_scope_" not in by_name.pretty_text
    by_name.dump(tmp_path / "dumped.py")
    assert Config.fromfile(tmp_path / "dumped.py").to_dict() == by_name.to_dict()
    part = Config.fromstring("_base_ = ['mmvit::_base_/heads/retinanet.py', 'mmdet::_base_/default_runtime.py']", ".py")
    assert (part.model.type, part.default_scope) == ("RetinaNet", "mmdet")
    with pytest.raises(InputError, match=r"no config retinanet_pvt_smal_coco; did you mean retinanet_pvt_small_coco"):
        Config.fromstring("_base_ = 'mmvit::retinanet_pvt_smal_coco.py'", ".py")


def test_installing_twice_changes_nothing() -> None:
    from mmengine.config import Config

    before = Config._get_cfg_path
    engine.install()
    assert Config._get_cfg_path is before

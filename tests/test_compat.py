"""What importing mmvit does to the process, and what it does not. Subprocesses, because it happens once a process."""

import os
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

import mmengine.config.utils
import pytest
from mmengine.utils import get_installed_path, is_installed

pytestmark = pytest.mark.stack


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


def test_import_is_light() -> None:
    done = run("import sys, mmvit; print([name for name in ('mmdet', 'mmseg', 'mmcv', 'timm') if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_switched_off_by_the_environment() -> None:
    code = (
        "import torch, mmvit, importlib.util\n"
        "print(importlib.util.find_spec('mmcv._ext') is None, 'HistoryBuffer' in str(torch.serialization.get_safe_globals()))"
    )
    if is_compiled():
        pytest.skip("mmcv is compiled here: nothing is supplied in the first place")
    assert run(code, MMVIT_COMPAT="0").stdout.strip() == "True False"
    assert run(code).stdout.strip() == "False True"


def is_compiled() -> bool:
    spec = util.find_spec("mmcv")
    return any(file for folder in spec.submodule_search_locations for file in Path(folder).glob("_ext.*so"))


def test_missing_mmengine_names_the_extra() -> None:
    done = run("import sys; sys.modules['mmengine'] = None; import mmvit")
    assert done.returncode != 0
    assert "mmvit[openmmlab]" in done.stderr
    assert "mmvit[onedl]" in done.stderr


def test_import_errors_surface_as_themselves() -> None:
    code = (
        "import sys; sys.modules['timm.layers'] = None\n"
        "from mmengine.registry import MODELS\nimport mmvit\nMODELS.build(dict(type='mmvit.PVT', arch='tiny'))"
    )
    done = run(code)
    assert "timm.layers" in done.stderr.splitlines()[-1]


def test_scope_needs_no_custom_imports() -> None:
    code = "from mmengine.registry import MODELS\nprint(type(MODELS.build(dict(type='mmvit.PVT', arch='tiny'))).__module__)"
    done = run(code)
    assert done.stdout.strip() == "mmvit.backbones.pvt", done.stderr


def test_mmengine_finds_packages_without_pkg_resources() -> None:
    assert is_installed("torch")
    assert is_installed("mmengine")
    assert not is_installed("no_such_package_here")
    assert Path(get_installed_path("mmdet"), "__init__.py").is_file()
    distribution = mmengine.config.utils.MODULE2PACKAGE["mmseg"]
    assert metadata.distribution(distribution)
    assert Path(get_installed_path(distribution)) == Path(util.find_spec("mmseg").origin).parent
    with pytest.raises(ImportError):
        get_installed_path("no_such_package_here")


def test_bases_of_other_packages_are_found() -> None:
    from mmengine.config import Config

    cfg = Config.fromstring("_base_ = 'mmseg::_base_/models/fpn_r50.py'\nfound = True", ".py")
    assert cfg.model.decode_head.type == "FPNHead"


def test_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    from mmengine.registry import TRANSFORMS

    from mmvit.errors import InputError

    load = TRANSFORMS.build(dict(type="mmvit.LoadImage"))
    for name, content in (("empty.jpg", b""), ("page.jpg", b"<html></html>")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: it cannot be decoded"):
            load(dict(img_path=str(tmp_path / name)))
    with pytest.raises(InputError, match=r"absent\.jpg: no such file"):
        load(dict(img_path=str(tmp_path / "absent.jpg")))

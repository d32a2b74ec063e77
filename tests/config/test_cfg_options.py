"""`--cfg-options`: values with spaces and braces, keys that nothing reads, and configs that a run has written."""

from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmvit.arguments import name_of
from mmvit.commands.cfg_options import add_cfg_options
from mmvit.config.files import open_config
from mmvit.engine import configuration
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.errors import InputError

pytestmark = pytest.mark.stack
LEAF = "fpn_van_b0_ade20k"


def parsed(value: str) -> Any:
    parser = ArgumentParser()
    add_cfg_options(parser)
    return parser.parse_args(["--cfg-options", f"key={value}"]).cfg_options["key"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("('traffic light','bus')", ("traffic light", "bus")),
        ("[traffic  light , 'a b' ]", ["traffic  light", "a b"]),
        (r"C:\Users\Max Muster\b (2).pth", r"C:\Users\Max Muster\b (2).pth"),
        ("'my runs'", "my runs"),
        ("( 1, 2.5 )", (1, 2.5)),
        ("'[(1, 2), [a, None]]'", [(1, 2), ["a", None]]),
        (" 1e-4 ", 1e-4),
        ("' True '", True),
        ("ep_{}.pth", "ep_{}.pth"),
        ("[{:06d}.pth]", ["{:06d}.pth"]),
    ],
)
def test_values(value: str, expected: Any) -> None:
    assert parsed(value) == expected


@pytest.mark.parametrize("value", ["{}", "{'a': 1}", "{'a':", "[1, {a: 1}]", "{a:{b:1}}", "dict(a=1)"])
def test_dicts_are_no_values(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(value)
    assert "was not understood" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optim_wraper.optimizer.lr", "optim_wrapper"),
        ("train_cgf.max_iters", "train_cfg"),
        ("work_dri", "work_dir"),
        ("find_unused_parameter", "find_unused_parameters"),
    ],
)
def test_keys_that_nothing_reads(key: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"{key.partition('.')[0]}: no such key in the config; did you mean {meant}"):
        open_config(LEAF, {key: 1})


def test_new_keys() -> None:
    options = dict.fromkeys(("my_key", "sync_bn", "experiment_name", "test_pipeline", "log_processor.window_size"), 1)
    assert open_config(LEAF, options).my_key == 1


def test_a_config_that_a_run_has_written_has_each_hook_once(tmp_path: Path) -> None:
    (tmp_path / "iter_1.pth").touch()
    options: dict[str, Any] = dict(resume=str(tmp_path / "iter_1.pth"), new_schedule=True, compile=True)
    train_config(TrainOptions(LEAF, tmp_path, **options)).dump(tmp_path / "c.py")
    kinds = [name_of(hook.type) for hook in Config.fromfile(tmp_path / "c.py").custom_hooks]
    again = train_config(TrainOptions(tmp_path / "c.py", tmp_path, compile=True, cfg_options=dict(resume=False)))
    tested = configuration.test_config(configuration.TestOptions(tmp_path / "c.py", tmp_path / "iter_1.pth", tmp_path))
    found = [[name_of(hook.type) for hook in cfg.custom_hooks] for cfg in (again, tested)]
    assert [max(Counter(names).values()) for names in found] == [1, 1]
    assert set(found[0]) == set(kinds) - {"ResumeHook"}
    assert "ResultsHook" not in found[1]

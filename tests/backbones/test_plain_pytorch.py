"""A backbone as any PyTorch module: made by name, compiled, exported, in low precision."""

from pathlib import Path

import pytest
import torch
from families import BY_NAME, FAMILIES, Family, images, released_state
from makers import each_family, needs_compiling, needs_exporting, run_python, tiers

import mmvit
from mmvit.backbones.t2t_tokens import Performer, Split
from mmvit.commands import listing
from mmvit.compat.versions import HALF
from mmvit.errors import CheckpointError
from mmvit.weights.addresses import addresses
from mmvit.weights.downloads import fetch
from mmvit.zoo import find


def assert_close(maps: tuple, expected: tuple) -> None:
    torch.testing.assert_close(maps, expected, atol=1e-4, rtol=1e-4)


def test_all_archs_have_a_name() -> None:
    names = mmvit.list_archs()
    assert len(names) == len(set(names)) == 40
    assert mmvit.list_archs("volo*") == [f"volo_d{size}" for size in range(1, 6)]
    assert mmvit.list_archs("*_b2_li") == ["pvt_v2_b2_li"]
    for name in names:
        family, arch = find(name)
        assert f"{family.record.name}_{arch}" == name


def test_create_takes_a_file_and_options(tmp_path: Path) -> None:
    row = BY_NAME["PVTv2"]
    source = row.initialised("b0")
    torch.save(released_state(row, source), tmp_path / "pvt_v2_b0.pth")
    encoder = mmvit.create("pvt_v2_b0", checkpoint=tmp_path / "pvt_v2_b0.pth", out_indices=(1, 2))
    assert encoder.out_channels == (64, 160)
    assert [tuple(level.shape) for level in encoder(images(64, 64))] == [(2, 64, 8, 8), (2, 160, 4, 4)]
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in encoder.state_dict().items())
    cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "pvt_v2_b0.pth"), map_location="cpu")
    again = mmvit.create("pvt_v2_b0", init_cfg=cfg)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in again.state_dict().items())
    for wrong, told in (
        (dict(checkpoint="a.pth", init_cfg=cfg), "both checkpoint and init_cfg"),
        (dict(prefix="student."), "prefix='student.' chooses tensors of a checkpoint"),
        (dict(init_cfg=dict(cfg, strict=True)), "init_cfg has no option strict; expected checkpoint, prefix, sha256"),
    ):
        with pytest.raises(mmvit.InputError, match=told):
            mmvit.create("pvt_v2_b0", **wrong)
    with pytest.raises(mmvit.InputError, match=r"did you mean .*van_b2"):
        mmvit.create("van_2")
    with pytest.raises(TypeError, match="depth"):
        mmvit.create("van_b0", depth=3)


def test_names_of_released_files() -> None:
    assert addresses("mmvit://volo_d1")[0].place.endswith("/volo_1/d1_224_84.2.pth.tar")
    assert addresses("mmvit://volo_d1_384")[0].place.endswith("/volo_1/d1_384_85.2.pth.tar")
    assert addresses("mmvit://pvt_v2_b2_li")[0].place.endswith("/v2/pvt_v2_b2_li.pth")
    with pytest.raises(CheckpointError, match=r"drive\.google\.com.*by hand"):
        addresses("mmvit://shunted_small")
    with pytest.raises(CheckpointError, match="released no file"):
        addresses("mmvit://t2t_vit_dense")
    with pytest.raises(CheckpointError, match="did you mean"):
        addresses("mmvit://volo_d9")


@each_family
def test_rows_of_released_files(family: Family) -> None:
    for key, row in family.kind.record.released.items():
        assert row.arch in family.archs
        assert key == (row.arch if row.img_size == 224 else f"{row.arch}_{row.img_size}")
        assert bool(row.url) != bool(row.folder)
        assert 70 < row.top1 < 90


def test_init_cfg_takes_the_name_of_a_released_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    row = BY_NAME["VOLO"]
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "d1_224_84.2.pth.tar"
    source = row.build("d1")
    torch.save({"state_dict": released_state(row, source)}, file)
    assert fetch("mmvit://volo_d1") == file
    model = row.build("d1", init_cfg=dict(type="Pretrained", checkpoint="mmvit://volo_d1"))
    model.init_weights()
    torch.testing.assert_close(model.stages[1].downsample.proj.weight, source.stages[1].downsample.proj.weight)


def test_list_command(capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*arguments: str) -> str:
        assert listing.main(arguments) == 0
        return capsys.readouterr().out

    lines = listed("volo_d[12]*").splitlines()
    assert [line.split()[0] for line in lines] == ["name", "volo_d1", "volo_d1_384", "volo_d2", "volo_d2_384"]
    url = "https://github.com/sail-sg/volo/releases/download/volo_1/d1_224_84.2.pth.tar"
    assert lines[1].split() == ["volo_d1", "84.2", "224", "Apache-2.0", f"{url},", "hf://timm/volo_d1_224.sail_in1k"]
    whole = listed("retinanet_pvt_v2_b2_*").splitlines()
    assert [line.split()[:3] for line in whole[1:]] == [["retinanet_pvt_v2_b2_coco", "44.6", "retinanet_pvt_v2_b2_coco"]]
    shunted = listed("shunted*")
    assert "none given" in shunted
    assert "by hand from https://drive.google.com" in shunted


BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_other_toolkits_need_mmengine_alone() -> None:
    code = """
import torch, mmvit, mmvit.timm, timm
from mmvit.torchvision import detector
images = torch.rand(1, 3, 64, 64)
print(len(mmvit.create("van_b0")(images)))
print(len(timm.create_model("mmvit_van_b0", features_only=True)(images)))
print(type(detector("van_b0", "retinanet", num_classes=2)).__name__)
"""
    done = run_python("-c", f"NAMES = ('mmcv', 'mmdet', 'mmseg')\n{BLOCKED}\n{code}")
    assert done.stdout.split() == ["4", "4", "RetinaNet"]


@pytest.mark.parametrize("package", ["mmvit", "mmvit.timm", "mmvit.torchvision"])
def test_without_mmengine_it_says_what_to_install(package: str) -> None:
    told = run_python("-c", f"NAMES = ('mmengine',)\n{BLOCKED}\nimport {package}", status=1).stderr
    assert "ModuleNotFoundError: mmvit needs mmengine" in told
    assert "pip install 'mmvit[openmmlab]'" in told
    assert "mmvit[onedl]" in told


@pytest.mark.stack
@pytest.mark.parametrize("package", ["mmdet", "scipy", "my_losses"])
def test_a_command_says_what_its_stack_lacks(package: str) -> None:
    """Also what mmdet imports, of which mmengine's error does not speak; a config's own module is the user's."""
    command = "lambda: import_modules_from_strings([NAMES[0] if NAMES[0] == 'my_losses' else 'mmdet.models'])"
    code = f"import mmvit\nfrom mmengine.utils import import_modules_from_strings\nprint(answered('predict', {command}))"
    lines = f"NAMES = ({package!r},)\n{BLOCKED}\nfrom mmvit.__main__ import answered\n{code}"
    own = package == "my_losses"
    done = run_python("-c", lines, status=1 if own else 0)
    assert ("ImportError: Failed to import my_losses" if own else f"error: mmvit predict needs {package}, which") in done.stderr
    assert ("pip install 'mmvit[openmmlab]'" in done.stderr) is not own


@pytest.mark.parametrize("family", tiers(FAMILIES, lambda family: family.name == "VAN", lambda family: family.name))
@needs_compiling
def test_compiles_without_graph_breaks(family: Family) -> None:
    torch._dynamo.reset()
    model = family.initialised().eval()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    maps = compiled(images())
    assert_close(maps, model(images()))
    sum(level.square().mean() for level in maps).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    "family", tiers(FAMILIES, lambda family: family.name in ("PVTv2", "VOLO", "T2TViT"), lambda family: family.name)
)
@needs_exporting
def test_exports_for_all_multiples_of_32(family: Family) -> None:
    torch._dynamo.reset()
    model = family.initialised().eval()
    batch, rows, columns = (torch.export.Dim(name, min=2, max=4096) for name in ("batch", "rows", "columns"))
    shapes = {"images": {0: batch, 2: 32 * rows, 3: 32 * columns}}
    program = torch.export.export(model, (images(96, 128),), dynamic_shapes=shapes).module()
    for height, width in ((96, 128), (160, 64)):
        assert_close(program(images(height, width)), model(images(height, width)))


@each_family
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 6e4])
def test_bfloat16_stays_finite(family: Family, scale: float) -> None:
    model = family.initialised().train()
    with torch.autocast("cpu", torch.bfloat16):
        maps = model(images() * scale)
        loss = sum(level.float().square().mean() for level in maps)
    loss.backward()
    assert all(level.isfinite().all() for level in maps)
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.isfinite().all()] == []


@each_family
def test_bfloat16_is_near_float32(family: Family) -> None:
    model = family.initialised().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = model(images())
    with torch.no_grad():
        for low, exact in zip(maps, model(images()), strict=True):
            assert (low - exact).abs().mean() < 0.02 * exact.abs().mean()


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.needs(HALF))], ids=str)
def test_performer_features_are_float32(dtype: torch.dtype) -> None:
    """Half precision would make infinities of exp's results and zeros of its small ones."""
    torch.manual_seed(0)
    performer = Performer(27).eval()
    torch.nn.init.orthogonal_(performer.w, gain=32**0.5)
    feature_map, split = 4 * torch.randn(2, 3, 40, 50), Split(kernel=3, stride=2, padding=1)
    with torch.no_grad():
        expected = performer.double()(feature_map.double(), split).float()
        performer.float()
        seen = []
        features = performer.features
        performer.features = lambda part: seen.append(features(part)) or seen[-1]
        with torch.autocast("cpu", dtype):
            low = performer(feature_map, split)
        performer.features = features
        assert [part.dtype for part in seen] == [torch.float32, torch.float32]
        assert (low.float() - expected).abs().mean() < 0.05 * expected.abs().mean()
        for scale in (1e2, 1e4, 6e4):
            assert performer(feature_map * scale, split).isfinite().all()
            key_and_query = scale * torch.randn(2, 500, 64)
            assert performer.features(key_and_query).isfinite().all()


@each_family
def test_traces_to_a_file(family: Family, tmp_path: Path) -> None:
    model = family.initialised().eval()
    with torch.no_grad():
        torch.jit.trace(model, images(300, 100), check_trace=False).save(tmp_path / "traced.pt")
        assert_close(torch.jit.load(tmp_path / "traced.pt")(images(300, 100)), model(images(300, 100)))

"""The benchmark measures what it says: textbook forms and peers equal ours, costs are right, tools run. No time is tested."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, Family
from makers import HOME, run_python
from torch import Tensor, nn

from benchmarks import candidates, cli, commands, measure, records, report
from benchmarks.written_out import FORMS, outlook_attention, reducing_attention, written_out
from mmvit.backbones.pvt import SpatialReductionAttention
from mmvit.backbones.volo import OutlookAttention
from mmvit.commands import get_flops
from mmvit.complexity import complexity
from mmvit.config.costs import costs_of_config
from mmvit.errors import InputError
from mmvit.zoo import families

OTHER_FORMS = {
    "PVTv2": [dict(linear=True)],
    "T2TViT": [
        dict(tokens="transformer"),
        dict(tokens="convolution"),
        dict(design="se"),
        dict(design="ghost", mlp_ratio=3),
        dict(design="dense", depths=[1, 2, 1, 1]),
    ],
}
CASES = [
    pytest.param(family, change, id="-".join([family.name, *map(str, change.values())]))
    for family in FAMILIES
    for change in [{}, *OTHER_FORMS.get(family.name, [])]
]


@pytest.mark.parametrize(("family", "change"), CASES)
def test_written_out_form_has_the_maps_and_gradients_of_the_model(family: Family, change: dict[str, Any]) -> None:
    model = family.randomised({**family.tiny, **change})
    textbook = written_out(model)
    images = torch.rand(2, 3, 70, 100, dtype=torch.float64)
    found: list[list[Tensor]] = []
    for network in (model, textbook):
        torch.manual_seed(0)  # of the performers' dropout
        maps = network.train()(images)
        torch.stack([feature_map.square().mean() for feature_map in maps]).sum().backward()
        found.append([*maps, *(parameter.grad for parameter in network.parameters())])
    for index, (ours, theirs) in enumerate(zip(*found, strict=True)):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12, msg=lambda text, index=index: f"{index}: {text}")
    state = textbook.state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, state.pop(name), rtol=1e-9, atol=1e-12)  # running statistics included
    assert not state


def test_every_family_has_a_written_out_form() -> None:
    assert set(FORMS) == set(families())
    with pytest.raises(TypeError, match="Linear has no written-out form"):
        written_out(nn.Linear(1, 1))  # type: ignore[arg-type]


def test_written_out_form_leaves_the_model_alone_and_does_not_checkpoint() -> None:
    model = FAMILIES[0].build(with_cp=True)
    textbook = written_out(model)
    assert type(model) is FAMILIES[0].kind
    assert (model.with_cp, textbook.with_cp) == (True, False)


class Called(nn.Module):
    """A function of a module, tokens and their grid, for images that are maps."""

    def __init__(self, module: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module = module
        self.function = function

    def forward(self, feature_map: Tensor) -> Tensor:
        return self.function(self.module, feature_map.flatten(2).transpose(1, 2), tuple(feature_map.shape[2:]))


def test_multiply_adds_of_an_attention_by_hand() -> None:
    tokens, dim, reduction = 8 * 12, 16, 2
    keys = tokens // reduction**2
    by_hand = sum(
        (
            tokens * dim * dim,  # queries
            keys * reduction**2 * dim * dim,  # the reducing convolution
            keys * dim * 2 * dim,  # keys and values
            2 * tokens * keys * dim,  # q k^T and its product with v, all heads
            tokens * dim * dim,  # projection
        )
    )
    with torch.device("meta"):
        attention = SpatialReductionAttention(dim, heads=2, reduction=reduction)
    textbook = Called(attention, lambda module, *given: reducing_attention(module, *given, module.sr))
    for network in (Called(attention, lambda module, *given: module(*given)), textbook):
        assert complexity(network, 8, 12, channels=dim).multiply_adds == by_hand


def test_multiply_adds_of_an_outlook_attention_by_hand() -> None:
    height, width, dim, heads = 8, 12, 16, 2
    tokens, windows = height * width, height * width // 4
    by_hand = sum(
        (
            2 * tokens * dim * dim,  # values and projection
            windows * dim * 81 * heads,  # logits
            windows * 9 * 9 * dim,  # nine values of each window by its 9 x 9 matrix
        )
    )
    with torch.device("meta"):
        attention = OutlookAttention(dim, heads)
    assert complexity(Called(attention, outlook_attention), height, width, channels=dim).multiply_adds == by_hand


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_form_hides_its_multiply_adds(family: Family) -> None:
    """A form that the counter does not see (attention, a performer, a depthwise convolution) would count less."""
    with torch.device("meta"):
        model = family.build()
    ours, theirs = (complexity(network, 96, 128).multiply_adds for network in (model, written_out(model)))
    assert ours == pytest.approx(theirs, rel=0.02)


def test_steps_are_timed_in_turns() -> None:
    calls: list[str] = []
    steps = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    seconds = measure.in_turns(steps, 7, "cpu", warm_up=1)
    turns = ["".join(calls[at : at + 3]) for at in range(0, len(calls), 3)]
    assert len(turns) == 8
    assert {"".join(sorted(turn)) for turn in turns} == {"abc"}, "each turn has every step once"
    assert len(set(turns)) > 3, "in an order drawn by chance"
    assert [len(values) for values in seconds.values()] == [7, 7, 7], "without the turn to warm up"
    assert measure.spread([4.0, 1.0, 2.0, 3.0, 5.0]) == measure.Spread(3.0, 2.0, 4.0)
    assert measure.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_other_maps_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(network: nn.Module, images: Tensor, expected: Any) -> float:
        return 0.5

    monkeypatch.setattr(measure, "difference", wrong)
    ours, theirs = measure.measure(candidates.Setting("pvt_v2_b0", 32, 32), ["written-out"], repeats=1, product=16)
    assert ours.seconds is not None
    assert theirs.seconds is None
    assert theirs.remark == "its maps differ by 5e-01: not timed"


def test_growth_is_told_where_an_arch_has_several_sizes() -> None:
    def row(name: str, side: int, candidate: str, seconds: float) -> measure.Row:
        return measure.Row(candidates.Setting(name, side, side), candidate, seconds=measure.spread([seconds]))

    rows = [
        row("van_b0", 64, "mmvit", 5),
        row("van_b0", 32, "mmvit", 1),
        row("van_b0", 32, "timm", 2),
        row("van_b0", 64, "timm", 16),
    ]
    rows += [measure.Row(candidates.Setting("van_b0", 64, 64), "mmdet"), row("van_b1", 32, "mmvit", 1)]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.growth_table(rows)]
    assert table[2:] == [["van_b0", "mmvit", "4.00", "5.00"], ["van_b0", "timm", "4.00", "8.00"]]
    assert report.growth_table(rows[-1:]) == []


def test_out_of_memory_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert candidates.is_out_of_memory(caught.value)
    assert not candidates.is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.slow
def test_benchmark_as_a_command(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    what = ["pvt_v2_b0", "--size", "32x64", "--against", "written-out,timm", "--train", "--with-cp", "--memory"]
    words = [*what, "--repeats", "2", "--product", "32"]
    told = run_python(HOME / "tools" / "benchmark.py", *words, "--json", numbers, cwd=tmp_path).stdout
    assert "training step (forward and backward), float32, batch 1" in told
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if "32 x 64" in line]
    assert [cells[2] for cells in table[1:]] == ["mmvit", "written-out", "timm", "mmvit, with_cp"]
    rows = json.loads(numbers.read_text())["rows"]
    for row in rows:
        assert row["ms"] > 0
        assert row["memory_mib"] >= 1
        assert row["candidate"] == "mmvit" or row["low"] <= row["ratio"] <= row["high"]
    assert [row["candidate"] for row in rows] == ["mmvit", "written-out", "timm", "mmvit, with_cp"]
    assert all(float(cells[-1].removeprefix("equal to ")) < 1e-5 for cells in table[2:])
    (run,) = records.read(tmp_path)
    assert run.command.startswith("python ")
    assert "--with-cp" in run.command
    assert run.machine == records.machine()


@pytest.mark.parametrize("name", ["t2t_vit_7", "van_b0"])
def test_variants_of_ours_have_the_same_weights(name: str) -> None:
    setting = candidates.Setting(name, 224, 224)
    ours = candidates.reference(setting).eval()
    images = candidates.images_of(setting)
    with torch.no_grad():
        expected = ours(images)
        if name == "van_b0":
            with pytest.raises(InputError, match="VAN has no option max_keys"):
                candidates.candidate_of(setting, f"{candidates.OPTIONS}max_keys=100", ours)
        else:  # a window of the whole grid of 14 x 14 tokens, and a key for each of them
            windowed = candidates.candidate_of(setting, f"{candidates.OPTIONS}window_size=14, max_keys=196", ours).network
            assert measure.difference(windowed, images, expected) < 1e-5


@pytest.mark.stack
def test_a_config_is_measured_by_its_backbone(tmp_path: Path) -> None:
    assert cli.backbone_of("van_b0") == ("van_b0", {})
    name, options = cli.backbone_of("configs/segformer_pvt_v2_b2_ade20k.py")
    assert name == "pvt_v2_b2"
    assert (
        measure.cost_of(candidates.Setting(name, 64, 64, options=options)).parameters
        == measure.cost_of(candidates.Setting(name, 64, 64)).parameters
    )
    other = tmp_path / "resnet.py"
    other.write_text("model = dict(backbone=dict(type='mmdet.ResNet', depth=50))\n")
    with pytest.raises(InputError, match=r"model\.backbone is not one of mmvit's by name"):
        cli.backbone_of(str(other))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("van_b7", "no backbone is called 'van_b7'; did you mean"),
        ("van_b0 --against torch", "--against torch: there is no such peer, expected some of written-out, timm"),
        ("van_b0 --device gpu", "--device gpu: expected cpu, cuda or cuda:N"),
        ("van_b0 --device cuda:99", "--device cuda:99: torch sees"),
        ("van_b0 --size 16x64", "--size 16x64: images have at least 32 pixels a side"),
        ("van_b0 --with-cp", "--with-cp: checkpointing happens in training only; add --train"),
        ("nowhere.py", "nowhere.py"),
        ("van_b0 --json nowhere/a.json", "there is no folder"),
    ],
)
def test_what_cannot_be_measured_is_told(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.benchmark(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize("word", ["max_keys", "max_keys=all", "window_size=14,max_keys=0"])
def test_options_that_are_no_numbers_are_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.benchmark(["volo_d1", "--with-options", word])
    assert f"'{word}': expected NAME=NUMBER,..." in capsys.readouterr().err


@pytest.mark.stack
@pytest.mark.parametrize("config", ["mask_rcnn_pvt_tiny_coco", "mask2former_semantic_pvt_small_ade20k"])
def test_costs_of_a_config(config: str) -> None:
    costs = costs_of_config(HOME / "configs" / f"{config}.py", 64, 96)
    name = next(name for name in ("pvt_tiny", "pvt_small") if name in config)
    assert costs["backbone"] == measure.cost_of(candidates.Setting(name, 64, 96))
    assert costs["model"].parameters > costs["backbone"].parameters
    assert costs["model"].multiply_adds > costs["backbone"].multiply_adds


@pytest.mark.stack
def test_get_flops_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert get_flops.main(["retinanet_pvt_tiny_coco", "--shape", "64", "96"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]] == ["backbone", "model"]
    assert get_flops.main(["retinanet_pvt_tin_coco"]) == 2
    assert "error: config retinanet_pvt_tin_coco" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.stack
def test_whole_commands_cost_something(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(commands, "FEW", 1)
    assert commands.main(["--pictures", "2", "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()[4:]
    assert [line.split("|")[1].strip() for line in lines] == ["1 pictures"] * 2 + ["2 pictures"] * 2 + [
        "a training until its first step",
        "a training of one step",
    ]
    assert all(float(line.split("|")[3]) > 1 and float(line.split("|")[5].replace(",", "")) > 100 for line in lines)

"""The way back: from each family's files to other names and back again, tensor for tensor."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from families import FAMILIES, Family, released_state
from makers import each_family
from safetensors.torch import load_file
from states import BY_NAME, mmdet_sizes, under
from torch import Tensor

from mmvit.__main__ import main
from mmvit.predict.models import dataset_meta
from mmvit.weights import layouts
from mmvit.weights.archives import read_checkpoint
from mmvit.weights.contents import read_contents
from mmvit.weights.convert import recognise
from mmvit.weights.loading import load_pretrained
from mmvit.weights.whole import NORM_EPS, THRESHOLD

WAYS = {"PVT": ["authors", "mmdet"], "PVTv2": ["authors", "mmdet", "timm"], "VOLO": ["authors", "timm"]}


def tensors(path: Path | str) -> dict[str, Tensor]:
    return dict(read_contents(path).tensors)


def test_there_and_back(tmp_path: Path) -> None:
    """Through all names that a family has, one after the other."""
    for family in FAMILIES:
        torch.manual_seed(0)
        model = family.build(**family.bare)
        model.init_weights()
        state = {name: value for name, value in model.state_dict().items() if not model.is_fresh(name)}
        file = tmp_path / f"{family.name}.pth"
        torch.save(state, file)
        for toolkit in (*WAYS.get(family.name, ["authors"]), "safetensors"):
            out = tmp_path / f"{family.name}_{toolkit}{'.safetensors' if toolkit == 'safetensors' else '.pth'}"
            assert main(["convert", str(file), "--to", toolkit, "--out", str(out)]) == 0
            same_names = toolkit == "safetensors" or (family.name, toolkit) == ("VOLO", "timm")
            assert same_names or tensors(out).keys() != tensors(file).keys()
            file = out
        back = load_file(file)
        assert back.keys() == state.keys()
        assert all(torch.equal(value, state[name]) for name, value in back.items())


@each_family
def test_authors_files(family: Family, tmp_path: Path) -> None:
    """Their classifier, which other toolkits have no place for, is named."""
    torch.manual_seed(0)
    model = family.build()
    torch.save({"model": released_state(family, model)}, tmp_path / "authors.pth")
    layout, start = recognise(read_contents(tmp_path / "authors.pth"))
    assert (layout.toolkit, layout.family, start) == ("authors", family.kind.record.name, "model.")
    assert main(["convert", str(tmp_path / "authors.pth"), "--to", "mmvit", "--out", str(tmp_path / "ours.pth")]) == 0
    again = family.build()
    load_pretrained(again, tmp_path / "ours.pth")
    for name, value in model.state_dict().items():
        assert model.is_fresh(name) or torch.equal(again.state_dict()[name], value), name


@pytest.mark.stack
def test_mmdet_takes_what_is_written_for_it(tmp_path: Path) -> None:
    from mmdet.models.backbones.pvt import PyramidVisionTransformer, PyramidVisionTransformerV2

    for name, kind in (("PVT", PyramidVisionTransformer), ("PVTv2", PyramidVisionTransformerV2)):
        model = BY_NAME[name].build(norm_eps=1e-6).eval()
        model.init_weights()
        torch.save({"state_dict": under("backbone.", model.state_dict())}, tmp_path / "ours.pth")
        out = tmp_path / f"{name}.pth"
        assert main(["convert", str(tmp_path / "ours.pth"), "--to", "mmdet", "--out", str(out)]) == 0
        network = kind(**mmdet_sizes(BY_NAME[name].tiny)).eval()
        network.load_state_dict(torch.load(out, weights_only=True))
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            for one, other in zip(network(images), model(images), strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_timm_takes_volo_as_it_is_written_for_it(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.save({"state_dict": BY_NAME["VOLO"].kind("d1").state_dict()}, tmp_path / "ours.pth")
    assert main(["convert", str(tmp_path / "ours.pth"), "--to", "timm", "--out", str(tmp_path / "timm.pth")]) == 0
    missing, unknown = timm.create_model("volo_d1_224").load_state_dict(tensors(tmp_path / "timm.pth"), strict=False)
    assert not unknown
    assert all(name.startswith(("cls_token", "post_network.", "head.", "aux_head.")) for name in missing)  # the classifier


def test_whole_models_keep_their_heads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = under("backbone.", BY_NAME["PVTv2"].build().state_dict()) | {"bbox_head.retina_cls.bias": torch.ones(3)}
    kept = {"cfg": "model = dict()", "dataset_meta": dict(classes=("a", "b")), NORM_EPS: 1e-3, THRESHOLD: 0.62}
    meta = dict(kept, seed=1)
    torch.save(dict(state_dict=state, meta=meta, optimizer={"state": {0: {"step": torch.ones(1)}}}), tmp_path / "epoch_1.pth")
    assert main(["convert", str(tmp_path / "epoch_1.pth"), "--to", "mmdet", "--out", str(tmp_path / "mmdet.pth")]) == 0
    content = torch.load(tmp_path / "mmdet.pth", weights_only=True)
    assert content.keys() == {"meta", "state_dict"}
    assert content["meta"] == kept
    assert "bbox_head.retina_cls.bias" in content["state_dict"]
    assert "backbone.layers.0.0.projection.weight" in content["state_dict"]
    assert "eps of the layer norms: the authors' in mmvit, 1e-06 in mmdet" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "epoch_1.pth"), "--to", "timm", "--out", str(tmp_path / "timm.pth")]) == 0
    assert "left out: bbox_head.retina_cls.bias" in capsys.readouterr().out
    unet = under("encoder.model.", BY_NAME["PVTv2"].build().state_dict()) | {"decoder.conv.weight": torch.ones(3)}
    torch.save(unet, tmp_path / "unet.pth")
    assert main(["convert", str(tmp_path / "unet.pth"), "--to", "timm", "--out", str(tmp_path / "encoder.pth")]) == 0
    assert "left out, as not under 'encoder.model.': decoder.conv.weight" in capsys.readouterr().out


@pytest.mark.stack
def test_metadata_of_other_tools_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Arrays, tensors, numbers of NumPy and sets; of what JSON cannot hold, nothing is written."""
    state = under("backbone.", BY_NAME["VAN"].build().state_dict()) | {"head.bias": torch.ones(3)}
    palette = [[1, 2, 3], [4, 5, 6]]
    noted = dict(classes=("a", "b"), palette=torch.tensor(palette), category_ids=[np.int64(7), np.int64(9)], ignored={255})
    file, out = tmp_path / "numpy.pth", tmp_path / "out.safetensors"
    torch.save(dict(state_dict=state, meta=dict(iter=np.int64(5), dataset_meta=noted | dict(ratio=np.ones(2)))), file)
    assert main(["convert", str(file), "--to", "safetensors", "--out", str(out)]) == 0
    content = read_checkpoint(out)
    assert content["meta"]["iter"] == 5
    wanted = dict(classes=["a", "b"], palette=palette, category_ids=[7, 9], ignored=[255], ratio=[1, 1])
    assert content["meta"]["dataset_meta"] == dataset_meta(content) == dataset_meta(read_checkpoint(file)) == wanted
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=noted | dict(other=Namespace(a=1)))), file)
    assert main(["convert", str(file), "--to", "safetensors", "--out", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors cannot be written: the checkpoint's metadata cannot be JSON" in capsys.readouterr().err
    assert not (tmp_path / "none.safetensors").exists()
    for harm in (Namespace(a=1), torch.zeros(1).expand(2**40)):
        assert dataset_meta(dict(meta=dict(dataset_meta=dict(classes=("a",), other=harm)))) == dict(classes=["a"], other=None)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "keras"], "--to keras: expected one of authors, mmdet, timm, mmvit, safetensors"),
        (["--to", "timm"], "--to timm: mmvit knows no names of van in timm; there are authors, mmvit\n"),
        (["--to", "safetensors", "--out", "{}/x.pth"], "expected a name that ends in .safetensors"),
        (["--to", "authors", "--out", "{}/van.pth"], "the file exists; name another, or give --force"),
        (["--to", "authors", "--prefix", "x."], "expected one backbone in a known layout, found none"),
    ],
)
def test_what_cannot_be_converted(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(BY_NAME["VAN"].build().state_dict(), tmp_path / "van.pth")
    words = [word.format(tmp_path) for word in words]
    words += [] if "--out" in words else ["--out", str(tmp_path / "out.pth")]
    assert main(["convert", str(tmp_path / "van.pth"), *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out.pth").exists()


def test_two_networks_in_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = BY_NAME["PVT"].build().state_dict()
    torch.save(under("left.", state) | under("right.", state), tmp_path / "both.pth")
    words = ["convert", str(tmp_path / "both.pth"), "--to", "authors", "--out", str(tmp_path / "out.pth")]
    assert main(words) == 2
    assert "found several: mmvit pvt under 'left.', mmvit pvt under 'right.'" in capsys.readouterr().err
    assert main([*words, "--prefix", "right."]) == 0
    assert tensors(tmp_path / "out.pth").keys() == layouts.layout_of("pvt", "authors").from_ours(state).tensors.keys()


@each_family
def test_a_part_of_a_network_is_not_taken_for_it(family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as one file of several. Later levels need not be there: a backbone does not build what nobody asks for."""
    state = list(family.build(**family.bare).state_dict().items())
    third = len(state) // 3
    for number, part in enumerate((state[:-third], state[third:], state[:third] + state[2 * third :])):
        torch.save(under("backbone.", dict(part)), tmp_path / f"{number}.pth")
        assert main(["convert", str(tmp_path / f"{number}.pth"), "--to", "authors", "--out", str(tmp_path / "out.pth")]) == 2
        told = capsys.readouterr().err
        assert f"{number}.pth" in told
        assert "tensors of the network are not in the file" in told or "expected one backbone in a known layout" in told
    assert not (tmp_path / "out.pth").exists()
    torch.save(family.build(**family.bare, out_indices=(0, 1)).state_dict(), tmp_path / "early.pth")
    assert main(["convert", str(tmp_path / "early.pth"), "--to", "authors", "--out", str(tmp_path / "out.pth")]) == 0
    assert "not in the file, as of a backbone of which no later level is asked for: " in capsys.readouterr().out

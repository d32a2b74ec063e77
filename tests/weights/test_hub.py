"""`hf://` and `mmvit://` against a local server that speaks what the hub speaks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hubs import COMMIT, Hub
from makers import Planted
from safetensors.torch import save
from states import BY_NAME, Write, under

from mmvit.checks.pretrained import whereabouts
from mmvit.errors import CheckpointError, InputError
from mmvit.weights import addresses, downloads, hub, layouts, published, released
from mmvit.weights.contents import read_contents
from mmvit.weights.downloads import fetch
from mmvit.weights.loading import load_pretrained

PVT_V2 = BY_NAME["PVTv2"]


WEIGHT = {"weight": torch.arange(3.0)}


def test_files_of_a_hub(host: type[Hub], write: Write) -> None:
    host.repos["me/net"] = {
        "README.md": b"# net",
        "model.safetensors": save(WEIGHT),
        "other.bin": write(WEIGHT).read_bytes(),
    }
    for address in ("hf://me/net", "hf://me/net@v1", "hf://me/net/other.bin", f"hf://me/net/model.safetensors@{COMMIT}"):
        assert torch.equal(read_contents(address).tensors["weight"], WEIGHT["weight"])
    host.asked.clear()
    assert fetch("hf://me/net/other.bin").name == "other.bin"
    assert host.asked == []  # it is in the cache


def test_the_only_file_is_found(host: type[Hub], write: Write) -> None:
    content = write(WEIGHT).read_bytes()
    host.repos["me/net"] = {"config.json": b"{}", "runs/best.pth": content}
    assert fetch("hf://me/net").name == "best.pth"
    host.asked.clear()
    assert fetch("hf://me/net").name == "best.pth"
    assert host.asked == []
    host.repos["me/two"] = {"a.pth": content, "b.pth": content}
    with pytest.raises(CheckpointError, match=r"found several: a\.pth, b\.pth\. Name one: hf://me/two/FILE"):
        fetch("hf://me/two")
    host.repos["me/none"] = {"README.md": b""}
    with pytest.raises(CheckpointError, match=r"found none among README\.md"):
        fetch("hf://me/none")


def test_the_doctor_asks_a_hub(host: type[Hub]) -> None:
    host.repos["me/net"] = {"model.safetensors": save(WEIGHT)}
    _, before = downloads.locate("hf://me/net")
    assert (before.name, before.is_file()) == ("models--me--net", False)
    with pytest.raises(InputError, match=r"/me/net/resolve/v1/absent\.pth .*HTTP status 404"):
        whereabouts("hf://me/net/absent.pth@v1", "load_from")
    assert "/me/net/resolve/main/model.safetensors is available" in whereabouts("hf://me/net/model.safetensors", "load_from")
    path = fetch("hf://me/net")
    assert whereabouts("hf://me/net", "load_from") == f"{path} is there"


@pytest.mark.parametrize("address", ["hf://me/absent", "hf://me/net/absent.pth", "hf://me/net/model.safetensors@absent"])
def test_what_a_hub_has_not(host: type[Hub], address: str) -> None:
    host.repos["me/net"] = {"model.safetensors": save(WEIGHT)}
    with pytest.raises(CheckpointError, match=r"could not be downloaded .*HF_ENDPOINT") as raised:
        fetch(address)
    assert address in str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["hf://net", "hf://", "hf://me/net/../../x.pth", "hf://me/net//etc/passwd", "hf://me/net/a\\b", "s3://bucket/file.pth"],
)
def test_what_is_no_address(address: str) -> None:
    form = "hf://OWNER/REPO" if address.startswith("hf") else "a path or an address with http://"
    with pytest.raises(CheckpointError, match=f"expected {form}"):
        fetch(address)


def test_a_hubs_files_are_strangers(host: type[Hub], tmp_path: Path, write: Write) -> None:
    """What comes from a hub is read as carefully as anything else, a wrong digest included."""
    host.repos["me/net"] = {
        "model.safetensors": b"\x10\0\0\0",
        "bomb.pth": write({"x": Planted(tmp_path / "planted")}).read_bytes(),
    }
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        fetch("hf://me/net")
    with pytest.raises(CheckpointError, match=r"posix\.mkdir, which could run code"):
        read_contents("hf://me/net/bomb.pth")
    assert not (tmp_path / "planted").exists()
    host.repos["me/good"] = {"model.safetensors": save(WEIGHT)}
    with pytest.raises(CheckpointError, match="has sha256"):
        fetch("hf://me/good", sha256="00")


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Registers a released file of the tiny PVT v2, whose first address does not answer."""

    def register(*copies: str) -> str:
        file = released.Released("tiny", 70.0, "Apache-2.0", "http://127.0.0.1:9/pvt_v2_tiny.pth", copies=copies)
        monkeypatch.setattr(addresses, "FILES", {**released.FILES, "pvt_v2_tiny": file})
        return "mmvit://pvt_v2_tiny"

    return register


@pytest.mark.parametrize("source", ["name", "first address"])
def test_the_next_address_is_tried(host: type[Hub], row: Callable, source: str) -> None:
    """A copy in a toolkit's names; its eps is not adopted, because the authors trained with theirs."""
    theirs = PVT_V2.build()
    named = layouts.layout_of("pvt_v2", "huggingface").from_ours(theirs.state_dict()).tensors
    content = {name: value.contiguous() for name, value in named.items()}
    host.repos["org/net"] = {"model.safetensors": save(under("pvt_v2.encoder.", content))}
    name = row("hf://me/absent", "hf://org/net")
    model = PVT_V2.build()
    report = load_pretrained(model, name if source == "name" else "http://127.0.0.1:9/pvt_v2_tiny.pth")
    assert "huggingface pvt_v2" in report.layout
    assert model.norm_eps is None
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in model.state_dict().items())
    host.asked.clear()
    load_pretrained(PVT_V2.build(), name)
    assert host.asked == []  # one that is there is used before any is asked


def test_all_addresses_are_told(host: type[Hub], row: Callable) -> None:
    with pytest.raises(CheckpointError, match="all of its 2 addresses failed") as raised:
        fetch(row("hf://me/absent"))
    assert "pvt_v2_tiny.pth could not be downloaded" in str(raised.value)
    assert "hf://me/absent could not be downloaded" in str(raised.value)


def test_digests_in_names() -> None:
    known = {place: digest for name in published.WHOLE_MODELS for place, digest in addresses.addresses(f"mmvit://{name}")}
    assert (
        known[
            "https://download.openmmlab.com/mmdetection/v2.0/pvt/retinanet_pvtv2-b2_fpn_1x_coco/retinanet_pvtv2-b2_fpn_1x_coco_20210901_174843-529f0b9a.pth"
        ]
        == "529f0b9a"
    )
    digests = [digest for digest in known.values() if digest]
    assert len(digests) == len(set(digests)) == len(known) - 2  # one digest stands in two names: it is believed in neither


def test_every_address_of_the_tables_has_a_form() -> None:
    rows = [*filter(None, released.FILES.values()), *published.WHOLE_MODELS.values()]
    places = [place for row in rows for place in (row.url, *row.copies) if place]
    assert len(places) == len(set(places)) > 60
    for place in places:
        assert hub.parse(place) if place.startswith("hf://") else place.startswith(downloads.REMOTE)

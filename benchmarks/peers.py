"""The same networks in other packages, if these are installed, with our weights if they take them.

A peer maps our names of tensors to its own, so that both compute the same function, up to the epsilons of the norms; outputs
are compared before anything is timed. Packages are imported only when a peer is requested.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from mmvit.backbones import PVT, VAN, VOLO, PVTv2, T2TViT
from mmvit.errors import InputError
from mmvit.pyramid import Pyramid
from mmvit.zoo import find

from .peer import Peer
from .peers_openmmlab import mmdet_pvt, mmdet_pvt_v2, mmpretrain_t2t, mmpretrain_van, mmseg_mit
from .peers_timm import timm_pvt_v2, timm_volo
from .written_out import written_out

WRITTEN_OUT = "written-out"


def build_peer(package: str, name: str, model: Pyramid, height: int, width: int) -> Peer | None:
    """Return the counterpart of `model`, the zoo's `name`, for images of `height` x `width` pixels, or None.

    Raises:
        InputError: no such peer, or its package is not installed.
    """
    check_peers([package])
    if package == WRITTEN_OUT:
        return Peer(written_out(model))
    family, arch = find(name)
    maker = MAKERS.get((package, family))
    return maker(arch, model, (height, width)) if maker else None


def check_peers(packages: Sequence[str]) -> None:
    """Raise InputError for a peer that is unknown, or whose package is missing."""
    for package in packages:
        if package not in PEERS:
            raise InputError(f"--against {package}: there is no such peer, expected some of {', '.join(PEERS)}")
        if package != WRITTEN_OUT and find_spec(package) is None:
            raise InputError(f"--against {package}: the package is not installed here; install it, or leave it out")


def installed() -> list[str]:
    """Return the peers whose packages are installed."""
    return [package for package in PEERS if package == WRITTEN_OUT or find_spec(package) is not None]


MAKERS: Mapping[tuple[str, type[Pyramid]], Callable[[str, Any, tuple[int, int]], Peer | None]] = {
    ("timm", PVTv2): timm_pvt_v2,
    ("timm", VOLO): timm_volo,
    ("mmdet", PVT): mmdet_pvt,
    ("mmdet", PVTv2): mmdet_pvt_v2,
    ("mmseg", PVTv2): mmseg_mit,
    ("mmpretrain", VAN): mmpretrain_van,
    ("mmpretrain", T2TViT): mmpretrain_t2t,
}
PEERS = (WRITTEN_OUT, *dict.fromkeys(package for package, _ in MAKERS))

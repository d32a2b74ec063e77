"""Write the golden files of a variant from a checkout of its authors' code, in float64 on a CPU.

    python tests/golden/make.py pvt_small ~/PVT            # compare with the files that are there
    python tests/golden/make.py pvt_small ~/PVT --write    # write VARIANT.json and its rows of gradients.json and released.json

The checkout's code is imported and run: read it first. Three things that it lacks are done here: images that are no multiple of
the patches, position tables for other grids, and maps instead of classes. A new family is a row of `SOURCES`, and a function if
its network is none of the three kinds below. All eleven variants were compared on 25 November 2026: outputs to 1e-14 of a map's
std, gradients to 2e-12 of their norm.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
import recipe
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FOLDER = Path(__file__).parent
SIZES = ((224, 224), (256, 320), (250, 330))
GRADIENTS_AT = (96, 128)
BATCH = 2  # of the images that gradients are taken at

Maps = dict[str, Tensor]


@dataclass(frozen=True)
class Source:
    """Where the authors' network is and how its maps are taken.

    Attributes:
        place: folder of the checkout that is imported from.
        module, function: what makes the network.
        maps: from the network and images to the maps by name.
        pad: images are padded at the bottom and right to a multiple of it.
        classifier: first parts of the names that a backbone has not.
        unfiled: further ones that are in VARIANT.json and not in released.json.
        norm_eps: of the norms of the maps, where the authors' dense-prediction code has another than their classifier.
    """

    place: str
    module: str
    function: str
    maps: Callable[[nn.Module, Tensor], Maps]
    pad: int = 1
    classifier: tuple[str, ...] = ("head",)
    unfiled: tuple[str, ...] = ()
    norm_eps: float | None = None

    def build(self, checkout: Path) -> nn.Module:
        sys.path.insert(0, str(checkout / self.place))
        model = getattr(importlib.import_module(self.module), self.function)().double().eval()
        values = {name: torch.from_numpy(recipe.tensor_for(name, tuple(old.shape))) for name, old in model.state_dict().items()}
        model.load_state_dict(values)
        if self.norm_eps is not None:
            for stage in range(1, 5):
                getattr(model, f"norm{stage}").eps = self.norm_eps
        return model


def four_stages(model: nn.Module, images: Tensor) -> Maps:
    """Maps of PVT, PVT v2, Shunted Transformer and VAN: `patch_embed{i}`, `block{i}` and, but for PVT, `norm{i}`."""
    maps, features = {}, images
    for stage in range(1, 5):
        features, *grid = getattr(model, f"patch_embed{stage}")(features)
        height, width = grid[0] if len(grid) == 1 else grid
        if (table := getattr(model, f"pos_embed{stage}", None)) is not None:
            start = table.shape[1] - getattr(model, f"patch_embed{stage}").H ** 2  # the class token's row
            features = features + resized(table[:, start:], (height, width), "bilinear")
        for block in getattr(model, f"block{stage}"):
            features = block(features) if features.ndim == 4 else block(features, height, width)
        tokens = features.flatten(2).transpose(1, 2) if features.ndim == 4 else features
        if (norm := getattr(model, f"norm{stage}", None)) is not None:
            tokens = norm(tokens)
        features = maps[f"level{stage}"] = to_map(tokens, height, width)
    return maps


def volo(model: nn.Module, images: Tensor) -> Maps:
    """Ends of the four blocks of layers of `network`, the last one normed."""
    features, ends = model.forward_embeddings(images), []
    for number, part in enumerate(model.network):
        if number == 2:
            table = model.pos_embed.flatten(1, 2)
            features = features + resized(table, features.shape[1:3], "bicubic").reshape(1, *features.shape[1:])
        features = part(features)
        if number != 1:  # the downsampling
            ends.append(features)
    return tapped(model, [end.permute(0, 3, 1, 2) for end in ends])


def t2t(model: nn.Module, images: Tensor, tokens: bool = False) -> Maps:
    """Four ends within `blocks`, the last one normed; and on request the module's own token maps."""
    split, sides, maps = model.tokens_to_token, images.shape[-2:], {}
    features = images
    Tensor.float = Tensor.double  # type: ignore[method-assign]  # the performers would compute in float32
    for number, (soft_split, attention) in enumerate(
        ((split.soft_split0, split.attention1), (split.soft_split1, split.attention2)), start=1
    ):
        features = attention(soft_split(features).transpose(1, 2))
        features = to_map(features, *(ceil(side / (2 << number)) for side in sides))
        if tokens:
            maps[f"token{number}"] = features
    grid = [ceil(side / 16) for side in sides]
    features = split.project(split.soft_split2(features).transpose(1, 2))
    features = torch.cat([model.cls_token.expand(len(images), -1, -1), features], dim=1)
    features = features + torch.cat([model.pos_embed[:, :1], resized(model.pos_embed[:, 1:], grid, "bicubic")], dim=1)
    ends = []
    for number, block in enumerate(model.blocks, start=1):
        features = block(features)
        if number in {ceil(len(model.blocks) * part / 4) for part in range(1, 5)}:
            ends.append(to_map(features[:, 1:], *grid))
    return tapped(model, ends) | maps


def tapped(model: nn.Module, ends: list[Tensor]) -> Maps:
    """Each end through a layer norm: fresh ones, and for the last the network's own."""
    maps = {}
    for level, end in enumerate(ends, start=1):
        last = end.permute(0, 2, 3, 1)
        normed = model.norm(last) if level == len(ends) else F.layer_norm(last, last.shape[-1:])
        maps[f"level{level}"] = normed.permute(0, 3, 1, 2)
    return maps


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], height, width)


def resized(table: Tensor, grid: Any, mode: str) -> Tensor:
    """(1, N, C) table of a square grid for another grid."""
    side = round(table.shape[1] ** 0.5)
    if tuple(grid) == (side, side):
        return table
    return F.interpolate(to_map(table, side, side), tuple(grid), mode=mode).flatten(2).transpose(1, 2)


PVT = partial(Source, "classification", maps=four_stages)
T2T = partial(Source, "", maps=t2t, pad=32)
SOURCES = {
    **{
        f"pvt_{arch}": PVT("pvt", f"pvt_{arch}", pad=32, classifier=("head", "norm", "cls_token"))
        for arch in ("tiny", "small", "medium", "large")
    },
    **{f"pvt_v2_{arch}": PVT("pvt_v2", f"pvt_v2_{arch}") for arch in ("b0", "b1", "b2", "b2_li", "b3", "b4", "b5")},
    **{
        f"volo_d{number}": Source(
            "", "models.volo", f"volo_d{number}", volo, 32, ("head", "aux_head"), ("cls_token", "post_network")
        )
        for number in range(1, 6)
    },
    **{f"shunted_{arch}": Source("", "SSA", f"shunted_{arch[0]}", four_stages, 32) for arch in ("tiny", "small", "base")},
    **{
        f"t2t_vit_{arch}": Source("", "models.t2t_vit", f"t2t_vit_{arch}", partial(t2t, tokens=True), 32)
        for arch in ("7", "10", "12", "14", "19", "24", "t_14", "t_19", "t_24", "14_resnext", "14_wide")
    },
    "t2t_vit_14_se": T2T("models.t2t_vit_se", "t2t_vit_14_se"),
    "t2t_vit_16_ghost": T2T("models.t2t_vit_ghost", "t2t_vit_16_ghost"),
    "t2t_vit_dense": T2T("models.t2t_vit_dense", "t2t_vit_dense"),
    **{f"van_b{number}": Source("", "models.van", f"van_b{number}", four_stages, norm_eps=1e-5) for number in range(7)},
}


def maps_of(source: Source, model: nn.Module, images: Tensor) -> Maps:
    """Maps of images of any size, without what belongs to the padding."""
    height, width = images.shape[-2:]
    right, bottom = (-side % source.pad for side in (width, height))
    maps = source.maps(model, F.pad(images, (0, right, 0, bottom)))
    strides = {name: (height + bottom) // level.shape[-2] for name, level in maps.items()}
    return {name: level[..., : ceil(height / strides[name]), : ceil(width / strides[name])] for name, level in maps.items()}


def outputs(source: Source, model: nn.Module) -> dict[str, dict[str, dict]]:
    found = {}
    for height, width in SIZES:
        with torch.no_grad():
            maps = maps_of(source, model, torch.from_numpy(recipe.image(height, width)))
        found[f"{height}x{width}"] = {name: recipe.digest(level.numpy()) for name, level in maps.items()}
    return found


def gradients(source: Source, model: nn.Module) -> dict[str, tuple[float, float]]:
    """Of each parameter and the image: the norm of the gradient and its product with `recipe.tensor_for(NAME.gradient)`."""
    image = torch.from_numpy(recipe.image(*GRADIENTS_AT, batch=BATCH)).requires_grad_()
    model.zero_grad()
    maps = [level for name, level in maps_of(source, model, image).items() if name.startswith("level")]
    losses = [(level * torch.from_numpy(recipe.weights(number, level.shape))).mean() for number, level in enumerate(maps)]
    torch.stack(losses).sum().backward()
    found = {"image": image.grad, **{name: parameter.grad for name, parameter in model.named_parameters()}}
    return {name: summary(name, gradient.numpy()) for name, gradient in found.items() if gradient is not None}


def summary(name: str, gradient: np.ndarray) -> tuple[float, float]:
    product = np.vdot(gradient, recipe.tensor_for(f"{name}.gradient", gradient.shape))
    return float(f"{np.linalg.norm(gradient):.12g}"), float(f"{product:.12g}")


def state(source: Source, model: nn.Module) -> Iterator[tuple[str, list[int], str]]:
    parameters = dict(model.named_parameters())
    for name, value in model.state_dict().items():
        if name.split(".")[0] not in source.classifier:
            yield name, list(value.shape), "param" if name in parameters else "buffer"


def largest(new: Any, old: Any) -> float:
    """Largest difference between two trees of numbers, in units of what stands beside as `std`, or of the old number."""
    if isinstance(new, dict):
        assert new.keys() == old.keys(), sorted(new.keys() ^ old.keys())
        if "std" in new:
            values = np.abs(np.subtract([*new["value"], new["mean"], new["std"]], [*old["value"], old["mean"], old["std"]]))
            assert (new["shape"], new["index"]) == (old["shape"], old["index"])
            return float(values.max() / old["std"])
        return max((largest(new[key], old[key]) for key in new), default=0.0)
    if isinstance(new, (list, tuple)):
        assert len(new) == len(old)
        return max((abs(one - two) for one, two in zip(new, old, strict=True)), default=0.0) / abs(old[0])
    return float(new != old)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("variant", choices=SOURCES)
    parser.add_argument("checkout", type=Path, help="folder with the authors' code, which is run")
    parser.add_argument("--write", action="store_true", help="write the files instead of comparing")
    asked = parser.parse_args()
    source = SOURCES[asked.variant]
    model = source.build(asked.checkout.resolve())
    rows = list(state(source, model))
    count = sum(prod(shape) for _, shape, kind in rows if kind == "param")
    content = dict(variant=asked.variant, num_params=count, state=rows, outputs=outputs(source, model))
    released = recipe.released({name: shape for name, shape, _ in rows if name.split(".")[0] not in source.unfiled})
    tables = {"gradients": gradients(source, model), "released": released}
    file = FOLDER / f"{asked.variant}.json"
    if asked.write:
        file.write_text(json.dumps(content))
    elif file.exists():
        old = json.loads(file.read_text())
        assert [list(row) for row in rows] == old["state"], "names or shapes differ"
        assert count == old["num_params"], f"{count} parameters, in the file {old['num_params']}"
        print(f"{file.name}: outputs {largest(content['outputs'], old['outputs']):.1e}")
    for name, row in tables.items():
        file = FOLDER / f"{name}.json"
        table = json.loads(file.read_text())
        if asked.write:
            table[asked.variant] = row
            file.write_text(json.dumps(table))
        elif asked.variant in table:
            print(f"{file.name}: {largest(row, table[asked.variant]):.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

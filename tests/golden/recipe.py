"""Deterministic weights and inputs for comparing two implementations of one architecture.

Every tensor depends on its own name and shape only, so any implementation that
uses the published parameter names gets the same weights.
"""

import zlib
from collections.abc import Mapping
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def tensor_for(name: str, shape: tuple) -> np.ndarray:
    """Value of the parameter or buffer `name` of shape `shape`, float64."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    if leaf == "running_var":
        return rng.uniform(0.5, 1.5, shape)
    if leaf == "running_mean":
        return 0.1 * rng.standard_normal(shape)
    if leaf.startswith("layer_scale"):
        return rng.uniform(0.005, 0.02, shape)
    if "pos_embed" in leaf or "cls_token" in leaf:
        return 0.2 * rng.standard_normal(shape)
    if leaf == "bias":
        return 0.05 * rng.standard_normal(shape)
    if leaf == "weight" and len(shape) == 1:
        return 1.0 + 0.1 * rng.standard_normal(shape)
    fan_in = int(np.prod(shape[1:])) or 1
    return 0.7 / np.sqrt(fan_in) * rng.standard_normal(shape)


def image(height: int, width: int, batch: int = 1) -> np.ndarray:
    """Input image batch of shape (batch, 3, height, width), float64."""
    rng = np.random.Generator(np.random.PCG64(height * 10007 + width))
    return rng.standard_normal((batch, 3, height, width))


def weights(level: int, shape: tuple) -> np.ndarray:
    """What the loss multiplies a map with, so that its gradient is not the same everywhere."""
    return np.random.default_rng([77, level, *shape]).standard_normal(shape)


def released(shapes: Mapping[str, Any]) -> dict:
    """Row of released.json for the shapes of a backbone's tensors by the published names."""
    rows = sorted(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    return dict(
        tensors=len(rows),
        parameters=sum(prod(shape) for name, shape in shapes.items() if not name.endswith(STATISTICS)),
        sha256=sha256("\n".join(rows).encode()).hexdigest()[:16],
    )


def digest(array: np.ndarray) -> dict:
    """Shape, moments and 48 values of `array`, for storing instead of it."""
    flat = np.asarray(array, dtype=np.float64).reshape(-1)
    rng = np.random.Generator(np.random.PCG64(flat.size))
    index = np.sort(rng.choice(flat.size, size=min(48, flat.size), replace=False))
    return dict(
        shape=list(array.shape),
        mean=float(flat.mean()),
        std=float(flat.std()),
        index=index.tolist(),
        value=[float(v) for v in flat[index]],
    )

"""What tests of several operators compute with: numbers without a generator, gradients, interpolation written out."""

import math

import torch


def wave(*shape: int, phase: float = 0.0) -> torch.Tensor:
    """Numbers without a pattern that no random generator can change."""
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 1.7 + phase).reshape(shape)


def single_wave(*shape: int, phase: float = 0.0) -> torch.Tensor:
    return wave(*shape, phase=phase).float()


def same_gradients(result, expected, inputs, least: float = 1e-4) -> None:
    """Two ways to compute something agree, and their gradients, which are no zeros."""
    torch.testing.assert_close(result, expected)
    weight = wave(*result.shape, phase=6).to(result)
    found, wanted = (torch.autograd.grad(output, inputs, weight) for output in (result, expected))
    torch.testing.assert_close(found, wanted)
    assert all(gradient.abs().max() > least for gradient in wanted)


def sample(plane: list[list[float]], y: float, x: float) -> float:
    """Interpolate between pixels; a point within a pixel outside lies on the border, farther out it is 0."""
    height, width = len(plane), len(plane[0])
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = plane[top][left] * (1 - across) + plane[top][right] * across
    lower = plane[bottom][left] * (1 - across) + plane[bottom][right] * across
    return upper * (1 - down) + lower * down

"""Outlook attention's window algebra as Triton kernels for GPUs: `mix` and `outer` of `volo_outlook`, which is their reference.

No window is ever written to memory: each value of the map is computed in place, from the one, two or four windows over it.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 16  # places or windows of a row in a program


@triton.jit
def mix_kernel(
    weights, values, mixed, height, width, rows, columns, heads, dim, to_i, to_j, DIM: tl.constexpr, BLOCK: tl.constexpr
):
    """Compute `mixed` at BLOCK places of row `y`; `to_i` and `to_j` are the strides of the weights' last two axes."""
    image, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    y = tl.program_id(1)
    x = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, DIM)
    inside = channel < dim
    total = tl.zeros((BLOCK, DIM), dtype=tl.float32)
    for below in tl.static_range(2):
        row = y // 2 + below
        place_y = y - 2 * row + 1  # in the window, 0 to 2
        for beside in tl.static_range(2):
            column = x // 2 + beside
            place_x = x - 2 * column + 1
            covers = (place_y >= 0) & (row < rows) & (place_x >= 0) & (column < columns) & (x < width)
            window = ((image * rows + row) * columns + column) * heads + head
            weight = weights + window * 81 + (3 * place_y + place_x) * to_i
            for index in tl.static_range(9):
                from_y = 2 * row - 1 + index // 3
                from_x = 2 * column - 1 + index % 3
                there = covers & (from_y >= 0) & (from_y < height) & (from_x >= 0) & (from_x < width)
                source = (((image * height + from_y) * width + from_x) * heads + head) * dim
                value = tl.load(values + source[:, None] + channel, mask=there[:, None] & inside, other=0.0)
                factor = tl.load(weight + index * to_j, mask=there, other=0.0)
                total += factor.to(tl.float32)[:, None] * value.to(tl.float32)
    target = (((image * height + y) * width + x) * heads + head) * dim
    tl.store(mixed + target[:, None] + channel, total.to(mixed.dtype.element_ty), mask=(x < width)[:, None] & inside)


@triton.jit
def outer_kernel(left, right, products, height, width, rows, columns, heads, dim, DIM: tl.constexpr, BLOCK: tl.constexpr):
    """Compute the 9 x 9 products of BLOCK windows of a row."""
    image, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    row = tl.program_id(1)
    column = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, DIM)
    inside = channel < dim
    window = ((image * rows + row) * columns + column) * heads + head
    for i in tl.static_range(9):
        left_y = 2 * row - 1 + i // 3
        left_x = 2 * column - 1 + i % 3
        there = (left_y >= 0) & (left_y < height) & (left_x >= 0) & (left_x < width)
        source = (((image * height + left_y) * width + left_x) * heads + head) * dim
        one = tl.load(left + source[:, None] + channel, mask=there[:, None] & inside, other=0.0).to(tl.float32)
        for j in tl.static_range(9):
            right_y = 2 * row - 1 + j // 3
            right_x = 2 * column - 1 + j % 3
            there = (right_y >= 0) & (right_y < height) & (right_x >= 0) & (right_x < width)
            source = (((image * height + right_y) * width + right_x) * heads + head) * dim
            other = tl.load(right + source[:, None] + channel, mask=there[:, None] & inside, other=0.0).to(tl.float32)
            product = tl.sum(one * other, axis=1)
            tl.store(products + window * 81 + 9 * i + j, product.to(products.dtype.element_ty), mask=column < columns)


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """Return `volo_outlook.mix`; `weights` may be transposed in its last two axes."""
    batch, height, width, heads, dim = values.shape
    rows, columns = weights.shape[1:3]
    swapped = weights.stride(-1) != 1
    kept = (weights.transpose(-1, -2) if swapped else weights).contiguous()
    to_i, to_j = (1, 9) if swapped else (9, 1)
    mixed = torch.empty_like(values, memory_format=torch.contiguous_format)
    shape = (batch * heads, height, triton.cdiv(width, BLOCK))
    sizes = (height, width, rows, columns, heads, dim, to_i, to_j)
    mix_kernel[shape](kept, values.contiguous(), mixed, *sizes, DIM=triton.next_power_of_2(dim), BLOCK=BLOCK)
    return mixed


def outer(left: Tensor, right: Tensor) -> Tensor:
    """Return `volo_outlook.outer`."""
    batch, height, width, heads, dim = left.shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    products = left.new_empty(batch, rows, columns, heads, 9, 9)
    shape = (batch * heads, rows, triton.cdiv(columns, BLOCK))
    sizes = (height, width, rows, columns, heads, dim)
    outer_kernel[shape](left.contiguous(), right.contiguous(), products, *sizes, DIM=triton.next_power_of_2(dim), BLOCK=BLOCK)
    return products

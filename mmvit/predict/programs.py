"""Checks of a .pt2 file before torch reads it, because torch's reader runs code from the file.

It evaluates expressions of sizes as Python, calls any function of torch that the graph names (such as `torch.os.system`),
unpickles custom objects, and loads compiled libraries. Programs that `mmvit export` wrote need none of this: they consist of
torch's operators, raw tensors, and sums and products of sizes.
"""

import ast
import json
import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from ..errors import InputError

ENTRIES = re.compile(
    r"(data/weights/(weight_\d+|\w+_config\.json)|data/constants/(tensor_\d+|\w+_config\.json)|data/sample_inputs/model\.pt"
    r"|models/model\.json|extra/\w+|archive_format|archive_version|byteorder|\.data/\w+)"
)
OPERATORS = re.compile(
    r"(torch\.ops\.(aten|torchvision|prims|quantized_decomposed|higher_order)\.\w+(\.\w+)?|_operator\.\w+|torch\.sym_\w+|math\.\w+)"
)
FUNCTIONS = frozenset(
    """
    Symbol Integer Float Add Mul Max Min FloorDiv CleanDiv Mod PythonMod ModularIndexing CeilToInt FloorToInt TruncToInt
    IntTrueDiv FloatTrueDiv ToFloat RoundToInt Where Equality Eq Ne Unequality LessThan GreaterThan
    StrictLessThan StrictGreaterThan And Or Not Not_ BooleanTrue BooleanFalse Identity NonOverlappingContiguousAssumption
    """.split()  # noqa: SIM905
)
SYMBOL = re.compile(r"[a-z_]+\d+")


def require_harmless(file: Path) -> None:
    """Check that a .pt2 file holds a program of operators and tensors, and nothing that runs while it is read.

    Raises:
        InputError: it holds anything else; the message names the entry or the text.
        zipfile.BadZipFile: it is cut short.
    """
    with zipfile.ZipFile(file) as archive:
        if min((entry.header_offset for entry in archive.infolist()), default=0):  # the list of an archive inside is the last
            raise zipfile.BadZipFile("it is cut short, get it again")
        names = [name for name in archive.namelist() if not name.endswith("/")]
        entries = {name.partition("/")[2]: name for name in names}
        for entry in entries:
            if not ENTRIES.fullmatch(entry):
                _refuse(file, f"it holds {entry}")
        for entry, name in entries.items():
            if entry.endswith("_config.json") or entry.startswith("models/"):
                for key, value in _pairs(archive.read(name)):
                    if key == "use_pickle" and value is not False:
                        _refuse(file, f"{entry} asks for pickled tensors")
                    if key == "expr_str" and not is_expression(value):
                        _refuse(file, f"the expression {str(value)[:80]!r} in {entry}")
                    if key == "target" and not OPERATORS.fullmatch(str(value)):
                        _refuse(file, f"the operator {str(value)[:80]!r} in {entry}")
            elif entry == "data/sample_inputs/model.pt":
                _require_plain(file, entry, archive.read(name))


def is_expression(text: Any) -> bool:
    """Return whether a text consists of calls of known functions of sizes, numbers and symbols, and nothing else."""
    try:
        return _is_harmless(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError):
        return False


def _is_harmless(node: ast.expr) -> bool:
    if isinstance(node, ast.Name):
        return node.id in FUNCTIONS or SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) or (isinstance(node.value, str) and SYMBOL.fullmatch(node.value) is not None)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _is_harmless(node.operand)
    if isinstance(node, ast.BinOp):
        return not isinstance(node.op, ast.Pow | ast.LShift) and _is_harmless(node.left) and _is_harmless(node.right)
    if isinstance(node, ast.Call):
        parts = [*node.args, *(keyword.value for keyword in node.keywords)]
        return isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and all(map(_is_harmless, parts))
    return False


def _pairs(content: bytes) -> list[tuple[str, Any]]:
    """Return the keys of all objects of a JSON text with their values, in which None stands for an object."""
    pairs: list[tuple[str, Any]] = []
    json.loads(content, object_pairs_hook=pairs.extend)
    return pairs


def _require_plain(file: Path, entry: str, content: bytes) -> None:
    """Check that the example inputs are tensors: if torch's safe reading fails, its reader falls back to the unsafe one."""
    import torch

    try:
        torch.load(BytesIO(content), weights_only=True)
    except Exception:
        _refuse(file, f"{entry} holds more than tensors")


def _refuse(file: Path, found: str) -> None:
    raise InputError(f"{file} was not read: {found}, which could run code. Expected a file that `mmvit export --to pt2` wrote")

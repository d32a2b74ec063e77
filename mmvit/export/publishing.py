"""Publication of a trained model: its weights, config and classes without the optimiser, and a model card."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..arguments import is_pretrained, listed, name_of
from ..compat.python import sha256_of
from ..compat.systems import file_name
from ..compat.texts import plain_values, read_config, text_of
from ..config.datasets import datasets_of
from ..config.parts import entry_of
from ..config.work_dirs import best_checkpoint, read_scalars, trained_in
from ..data.files import write_whole
from ..errors import InputError
from ..version import REPOSITORY, __version__
from ..weights.addresses import row_of
from ..weights.archives import read_checkpoint, write_tensors
from ..weights.contents import contents_of
from ..weights.downloads import fetch
from ..weights.hub import upload
from ..weights.whole import KEPT

PRIVATE = re.compile(r"(?m)^(work_dir|load_from|resume) *=.*\n?")  # lines of a config: places on the machine that trained
DIGITS = 8  # digits of the digest in a file's name
TASKS = {"mmdet": "object-detection", "mmseg": "image-segmentation"}
CARD = """\
---
library_name: mmvit
pipeline_tag: {task}
license: {licence}
tags: [mmvit, {scope}, {family}]
---
# {name}

{model} with the backbone {family} {arch}, trained with {mmvit} {version} after {progress}.

    mmvit predict {file} photo.jpg

## Figures

{figures}

## Training

- data: {data}
- classes ({count}): {classes}
- config: in the file, as `meta.cfg`; write it out and train again: `mmvit train CONFIG.py`
- evaluated with: `mmvit test CONFIG.py {file}`

## Licence

{chain}

## Files

{files}
"""


def publish(source: str | Path, out: Path, hub: str | None = None, name: str | None = None) -> list[Path]:
    """Write a checkpoint of a training, without what only training needs, as `.pth` and `.safetensors`, with a model card.

    Return these three files. A card that is there already may have been edited, and is kept.

    Args:
        source: a checkpoint; or a work dir or the folder of a project, whose best checkpoint is taken, or else the newest.
        out: folder for the files.
        hub: `OWNER/REPO` of a Hugging Face hub to upload the folder to.
        name: first part of the files' names; None for the work dir's name.

    Raises:
        InputError: there is no checkpoint, it lacks the config of its training, or the folder has the card of another model.
        CheckpointError: it is unreadable, or the hub refuses.
    """
    folder = trained_in(source) if Path(source).is_dir() else None
    checkpoint = source if folder is None else best_checkpoint(folder)
    path = fetch(checkpoint)
    content = read_checkpoint(path, checkpoint)
    text = text_of(content)
    if text is None:
        raise InputError(
            f"{checkpoint}: there is no config in it, so that nobody could use it; expected a training's checkpoint"
        )
    contents = contents_of(content, path, checkpoint)
    noted, data = contents.meta, contents.meta.get("dataset_meta")
    meta: dict[str, Any] = {key: noted[key] for key in KEPT if key in noted} | {"cfg": PRIVATE.sub("", text)}
    if isinstance(data, Mapping):
        meta["dataset_meta"] = {key: data[key] for key in ("classes", "palette", "category_ids") if key in data}
    tensors = contents.below("state_dict.")
    if not tensors:
        raise InputError(f"{checkpoint}: no state_dict in it; expected a training's checkpoint")
    name = file_name(name or (folder or path.parent).resolve().name)
    log = read_scalars(folder or path.parent)
    safetensors = _named_by_digest(out / f"{name}.safetensors", tensors, meta)  # first: not all metadata can be JSON
    weights = _named_by_digest(out / f"{name}.pth", tensors, meta)
    card = out / "README.md"
    told = card.read_text(encoding="utf-8") if card.exists() else _card(name, meta, log, (weights, safetensors))
    if weights.name not in told:
        told = f"{card} is of another model, and is not replaced; the weights are beside it"
        raise InputError(f"{told}. Give another folder with --out DIR")
    if hub is not None:
        told = told.replace(f"mmvit predict {weights.name} ", f"mmvit predict hf://{hub} ")
    write_whole(card, told.encode())
    written = [weights, safetensors, card]
    if hub is not None:
        upload(out, hub, [path.name for path in written])
    return written


def _named_by_digest(path: Path, tensors: Mapping[str, Any], meta: Mapping[str, Any]) -> Path:
    """Write a file, and put the beginning of its digest into its name."""
    write_tensors(path, tensors, meta)
    return path.replace(path.with_name(f"{path.stem}-{sha256_of(path)[:DIGITS]}{path.suffix}"))


def _card(name: str, meta: Mapping[str, Any], log: list[dict], files: tuple[Path, ...]) -> str:
    parts = ("model", "default_scope", "train_dataloader", "test_dataloader")
    cfg = read_config(meta["cfg"], name, parts)
    backbone = cfg.model.get("backbone", {})
    dataset: Mapping[str, Any] = next((view.config for view in datasets_of(cfg, ("train",))), {})
    classes = [str(label) for label in meta.get("dataset_meta", {}).get("classes", ())]
    licence, chain = _licence(backbone)
    return CARD.format(
        name=name,
        task=TASKS.get(cfg.default_scope, "image-feature-extraction"),
        licence=(licence or "other").lower(),
        scope=cfg.default_scope,
        family=name_of(backbone.get("type", "")),
        arch=backbone.get("arch") if isinstance(backbone.get("arch"), str) else "of its own sizes",
        model=name_of(cfg.model.get("type")),
        mmvit=f"[mmvit]({REPOSITORY})" if REPOSITORY else "mmvit",
        version=__version__,
        progress=f"{meta['iter']} iterations" if meta.get("iter") else "a training",
        figures=_figures(_unit(plain_values(meta["cfg"], ("default_hooks",))), meta, log),
        data=f"{name_of(dataset.get('type'))}, {dataset.get('ann_file') or dataset.get('data_root') or 'unknown place'}",
        count=len(classes),
        classes=", ".join(classes),
        chain=chain,
        file=files[0].name,
        files="\n".join(f"- `{path.name}`: sha256 {sha256_of(path)}" for path in files),
    )


def _unit(cfg: Mapping[str, Any]) -> str:
    """Return in what a training's log counts its validations, `epoch` or `iter`, as mmengine's LoggerHook does."""
    logger = entry_of(cfg, "default_hooks.logger") or {}
    return "epoch" if logger.get("log_metric_by_epoch", True) else "iter"


def _figures(unit: str, meta: Mapping[str, Any], log: list[dict]) -> str:
    """Return a table of the metrics of the validation at the checkpoint's epoch or iteration, or else of the last one."""
    entries = [entry for entry in log if "loss" not in entry]
    entry = next((entry for entry in reversed(entries) if entry["step"] == meta.get(unit)), entries[-1] if entries else {})
    rows = [f"| {key} | {value:g} |" for key, value in entry.items() if key not in ("step", "time", "data_time")]
    if not rows:
        return "The training logged none."
    return "\n".join([f"On the validation set, at step {entry['step']}:", "", "| figure | value |", "| --- | --- |", *rows])


def _licence(backbone: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the licence of the weights that a training started from, and a description of their origin."""
    begun = next((entry["checkpoint"] for entry in listed(backbone.get("init_cfg")) if is_pretrained(entry)), None)
    if begun is None:
        return None, "Trained from random weights. Choose a licence, and write it here."
    row = row_of(str(begun))
    if row is None:
        return None, f"Trained from `{Path(str(begun)).name}`, whose licence is not known here: find it out, and write it here."
    if row.licence is None:
        return None, f"Trained from {begun}, whose authors gave no licence: ask them before you give this away."
    return row.licence, (
        f"Trained from {begun}, which its authors give under {row.licence}. That of the training data is its own; add yours."
    )

"""Descriptions of errors in a training: the part of the model, and a known remedy."""

from linecache import getline
from pathlib import Path
from traceback import walk_tb
from typing import Any

from torch import nn

from ..errors import InputError, brief

LAYOUT = "view size is not compatible"
ADVICE = {
    "Expected more than 1 value per channel": (
        "a batch norm after pooling sees one value with one image: set train_dataloader.batch_size to 2 or more (and "
        "drop_last, where an epoch leaves one image for its last batch), or another norm_cfg for that part"
    ),
    "weight tensor should be defined": "class_weight needs a number for each class of the head, background included",
    LAYOUT: "this part calls view() on maps that lie channels-last: set model.backbone.contiguous_maps=True",
    "base_wd should not be None": (
        "paramwise_cfg multiplies the weight decay: give optim_wrapper.optimizer a weight_decay, 0.0 where there is none"
    ),
    "Results do not correspond to current coco set": (
        "val_evaluator.ann_file has other image ids than val_dataloader.dataset.ann_file: name the same file in both"
    ),
    "KeyError: inputs": "the pipeline has to end with PackDetInputs or PackSegInputs, which make the model's inputs",
    "need at least one array to concatenate": (
        "a dataset has no sample: its folder or file is empty, or filter_cfg leaves nothing; see doctor CONFIG --data"
    ),
    "only one of size and size_divisor should be valid": (
        "model.data_preprocessor needs a size for batches: size=(HEIGHT, WIDTH), the crop of the training, or size_divisor=32"
    ),
    "scale_factor": (
        "PackDetInputs of a validation hands on what results are scaled back with: meta_keys=('img_id', 'img_path', "
        "'ori_shape', 'img_shape', 'scale_factor')"
    ),
    "prior_generator.num_levels": "anchor_generator.strides needs as many entries as the neck has outputs (num_outs)",
    "len(self.in_channels)": "neck.in_channels needs as many entries as the backbone has out_indices",
    "process group has not been initialized": (
        "MMSyncBN wants several processes even to be built: start them with torchrun and --launcher pytorch, or take "
        "norm_cfg=dict(type='SyncBN'), which is a batch norm in one process"
    ),
    "KeyError: iscrowd": 'annotations need "iscrowd": 0, which only evaluation reads',
}


def describe(error: BaseException, model: Any = None) -> str:
    """Describe an error: where in the model it was raised, and a known remedy."""
    text = brief(error)
    if isinstance(error, InputError):
        return text
    parts = model.named_modules() if isinstance(model, nn.Module) else ()
    names = {id(part): f"model.{name} ({type(part).__name__})" for name, part in parts if name}
    owner, at, source = "", "", ""
    for frame, line in walk_tb(error.__traceback__):
        owner = names.get(id(frame.f_locals.get("self")), owner)
        at = f"{Path(frame.f_code.co_filename).name}, line {line}"
        source = getline(frame.f_code.co_filename, line).strip()
    if text == type(error).__name__:
        text += f": {source}"  # an assertion without a message
    text += f"; in {', '.join(filter(None, (owner, at)))}"
    known = next((advice for words, advice in ADVICE.items() if words in text), None)
    return f"{text}\n{known}" if known else text

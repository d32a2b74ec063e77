"""Registries of the scope ``mmvit`` below mmengine's roots, by which a config finds our classes.

``type='mmvit.PVT'`` makes mmengine import ``mmvit.registry``, find these children and import their ``locations``. This file
imports nothing that can fail for a reason worth seeing, because mmengine swallows an ImportError raised while it is imported;
one raised by a location surfaces as itself.
"""

from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as ROOT_OPTIM_WRAPPERS
from mmengine.registry import RUNNERS as ROOT_RUNNERS
from mmengine.registry import STRATEGIES as ROOT_STRATEGIES
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import Registry, build_runner_from_cfg

SCOPE = "mmvit"

MODELS = Registry(
    "model", parent=ROOT_MODELS, scope=SCOPE, locations=["mmvit.backbones", "mmvit.engine.tta", "mmvit.losses.structure"]
)
HOOKS = Registry(
    "hook",
    parent=ROOT_HOOKS,
    scope=SCOPE,
    locations=[
        "mmvit.engine.opening",
        "mmvit.engine.progress",
        "mmvit.engine.checkpoints",
        "mmvit.engine.finite",
        "mmvit.engine.computing",
        "mmvit.data.reading",
        "mmvit.engine.resuming",
        "mmvit.engine.checking",
        "mmvit.engine.results",
        "mmvit.look.report",
        "mmvit.demo.report",
    ],
)
METRICS = Registry("metric", parent=ROOT_METRICS, scope=SCOPE, locations=["mmvit.measure.binary_metric"])
LOOPS = Registry("loop", parent=ROOT_LOOPS, scope=SCOPE, locations=["mmvit.engine.loops"])
TRANSFORMS = Registry(
    "transform",
    parent=ROOT_TRANSFORMS,
    scope=SCOPE,
    locations=["mmvit.data.images", "mmvit.data.label_maps", "mmvit.data.bands"],
)
RUNNERS = Registry(
    "runner", build_func=build_runner_from_cfg, parent=ROOT_RUNNERS, scope=SCOPE, locations=["mmvit.engine.fsdp"]
)
STRATEGIES = Registry("strategy", parent=ROOT_STRATEGIES, scope=SCOPE, locations=["mmvit.engine.fsdp"])
OPTIM_WRAPPERS = Registry("optimizer wrapper", parent=ROOT_OPTIM_WRAPPERS, scope=SCOPE, locations=["mmvit.engine.computing"])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor",
    parent=ROOT_OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=["mmvit.engine.layer_decay"],
)

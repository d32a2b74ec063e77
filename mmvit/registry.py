"""Registries of the scope ``mmvit`` below mmengine's roots, by which a config finds our classes.

``type='mmvit.PVT'`` makes mmengine import ``mmvit.registry``, find these children and import their ``locations``. This file
imports nothing that can fail for a reason worth seeing, because mmengine swallows an ImportError raised while it is imported;
one raised by a location surfaces as itself.
"""

from mmengine import registry as roots
from mmengine.registry import Registry, build_runner_from_cfg

SCOPE = "mmvit"

MODELS = Registry(
    "model", parent=roots.MODELS, scope=SCOPE, locations=["mmvit.backbones", "mmvit.engine.tta", "mmvit.losses.structure"]
)
HOOKS = Registry(
    "hook",
    parent=roots.HOOKS,
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
METRICS = Registry("metric", parent=roots.METRICS, scope=SCOPE, locations=["mmvit.measure.binary_metric"])
LOOPS = Registry("loop", parent=roots.LOOPS, scope=SCOPE, locations=["mmvit.engine.loops"])
TRANSFORMS = Registry(
    "transform",
    parent=roots.TRANSFORMS,
    scope=SCOPE,
    locations=["mmvit.data.images", "mmvit.data.label_maps", "mmvit.data.bands"],
)
RUNNERS = Registry(
    "runner", build_func=build_runner_from_cfg, parent=roots.RUNNERS, scope=SCOPE, locations=["mmvit.engine.fsdp"]
)
STRATEGIES = Registry("strategy", parent=roots.STRATEGIES, scope=SCOPE, locations=["mmvit.engine.fsdp"])
OPTIM_WRAPPERS = Registry("optimizer wrapper", parent=roots.OPTIM_WRAPPERS, scope=SCOPE, locations=["mmvit.engine.computing"])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor",
    parent=roots.OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=["mmvit.engine.layer_decay"],
)

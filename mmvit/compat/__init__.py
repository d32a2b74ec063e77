"""Compatibility: plain wheels do the work of a compiled mmcv, and current torch reads mmengine's checkpoints.

`operators` supplies `mmcv._ext` if it was not compiled. `checkpoints` tells torch which classes of mmengine's checkpoints are
harmless. `engine` corrects mmengine's incompatibilities with current Python packages, `losses` three faults of mmseg's losses.
`texts` reads the configs in checkpoints as data, which the stock inferencers would run as Python. `MMVIT_COMPAT=0` in the
environment, set before `import mmvit`, switches all of it off.

`versions`, `unpickling` and `python` hold what differs between the supported versions of torch and Python.
"""

import os

SWITCH = "MMVIT_COMPAT"


def install() -> None:
    """Install everything; a second call changes nothing."""
    if os.environ.get(SWITCH, "1") == "0":
        return
    from . import checkpoints, engine, losses, operators, texts  # mmengine, which `python` and `versions` do without

    operators.install()
    checkpoints.install()
    engine.install()
    losses.install()
    texts.install()

"""Every test sees mmcv through the stand-in, as a user does after `import mmvit`."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mmvit  # noqa: F401  (before anything imports mmcv.ops)

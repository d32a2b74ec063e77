"""Every command's --help starts without torch."""

import re
import subprocess
import sys

from mmvit.__main__ import COMMANDS


def test_help_does_without_torch() -> None:
    code = (
        "import sys\nfrom contextlib import suppress\nfrom mmvit.__main__ import main\n"
        "for name in sys.argv[1:]:\n    with suppress(SystemExit):\n        main([name, '--help'])\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *COMMANDS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"usage: python -m mmvit (\S+)", done.stdout) == list(COMMANDS)

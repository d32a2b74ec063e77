"""Check of the checkpoints that a config's backbones start from."""

from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..arguments import initialisers
from ..errors import InputError
from ..weights.downloads import fetch
from ..zoo import families


def check_pretrained(cfg: Config) -> None:
    """Fetch the files that `init_cfg` of our backbones names now, so that an unreachable one stops the run at once."""
    for name, part in cfg.model.items():
        if not isinstance(part, dict) or not str(part.get("type", "")).startswith("mmvit."):
            continue
        listed = not isinstance(part.get("init_cfg"), dict)
        for index, setting in enumerate(initialisers(part.get("init_cfg"))):
            if setting.get("type") != "Pretrained":
                continue
            key = f"model.{name}.init_cfg{f'.{index}' if listed else ''}"
            source = str(setting["checkpoint"])
            if "://" not in source and not Path(source).expanduser().is_file():
                raise InputError(missing_checkpoint(key, source, part))
            fetch(source, setting.get("sha256"))


def missing_checkpoint(key: str, source: str, part: ConfigDict) -> str:
    """Return a message about a missing local checkpoint, with the address of the authors' file."""
    path = Path(source).expanduser()
    lines = [f"checkpoint {source}: no such file ({key}.checkpoint, looked in {path.resolve().parent})"]
    family = next((family for family in families() if f"mmvit.{family.__name__}" == part.type), None)
    rows = family.released.values() if family else ()
    for row in rows:
        if row.arch == part.get("arch") and row.url:
            lines.append(f"The authors' file for images of {row.img_size} pixels is {row.url}, which {key}.checkpoint may name")
        elif row.arch == part.get("arch"):
            lines.append(
                f"The authors' file is in a folder that only a browser opens, {row.folder}: download it by hand and put it "
                f"at {path}"
            )
    lines += [
        f"Another path: --cfg-options {key}.checkpoint=PATH",
        f"Random weights: --cfg-options {key.partition('.init_cfg')[0]}.init_cfg=None",
    ]
    return "\n".join(lines)

"""The one list of checks of a run, and what a command does with their findings."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from ..errors import InputError
from .annotations import check_annotations, check_same_classes, check_targets
from .best import check_best
from .channels import check_channels
from .classes import check_classes
from .evaluators import check_evaluators, check_figures, check_metrics
from .files import check_files
from .findings import Finding, doubtful, guarded
from .first_images import check_first_images
from .ignored import check_ignored
from .label_maps import check_label_maps
from .losses import check_losses, check_rewards
from .model import check_forward, check_model
from .options import check_options
from .others import check_datasets, check_other_data, check_unlearned
from .paths import check_paths
from .pipelines import check_packages, check_sizes, check_views, check_windows
from .plan import Plan
from .pretrained import check_checkpoints, check_files_of_weights
from .settings import check_keys, check_settings

START, DOCTOR, DATA = range(3)  # before each run; when the doctor is asked; when he shall open every file


class Check(NamedTuple):
    """A check: what it looks at, and how thorough a command must be to run it."""

    subject: str
    find: Callable[[Plan], Iterable[Finding]]  # it neither prints nor raises what is a finding
    depth: int = START


CHECKS = (
    Check("options", check_options),
    Check("model", check_model, DOCTOR),
    Check("channels", check_channels),
    Check("channels", check_forward, DOCTOR),
    Check("classes", check_classes),
    Check("losses", check_losses),
    Check("losses", check_rewards),
    Check("settings", check_settings),
    Check("settings", check_ignored),
    Check("settings", check_keys, DOCTOR),
    Check("pipeline", check_packages),
    Check("pipeline", check_sizes),
    Check("pipeline", check_views),
    Check("settings", check_windows),
    Check("data", check_paths),
    Check("annotations", check_datasets),
    Check("annotations", check_annotations),
    Check("annotations", check_same_classes),
    Check("annotations", check_targets),
    Check("annotations", check_other_data),
    Check("annotations", check_unlearned),
    Check("label maps", check_label_maps),
    Check("settings", check_first_images),
    Check("evaluator", check_evaluators),
    Check("evaluator", check_figures),
    Check("evaluator", check_metrics),
    Check("best", check_best),
    Check("checkpoint", check_files_of_weights),
    Check("checkpoint", check_checkpoints, DOCTOR),
    Check("images", check_files, DATA),
)


def examine(plan: Plan, depth: int = START) -> Iterator[Finding]:
    """Yield the findings about a plan; no sentence twice."""
    said = set()
    for check in CHECKS:
        if check.depth <= depth:
            with DefaultScope.overwrite_default_scope(plan.config.get("default_scope") or "mmengine"):
                for finding in guarded(check.subject, check.find, plan):
                    if finding not in said:
                        yield finding
                    said.add(finding)


def check_start(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check a run that is about to begin, in the first process of each machine; print what is doubtful.

    Raises:
        InputError: something is wrong; the message has all of it.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        require(examine(Plan(cfg, splits)))


def warn(subject: str, sentence: str, remedy: str = "") -> None:
    """Log what is doubtful; the first lines of the run have it, too."""
    require([doubtful(sentence, remedy)], subject)


def require(findings: Iterable[Finding], subject: str = "") -> None:
    """Log findings, those that are doubtful as warnings, and stop at wrong ones; `subject` is that of findings without one.

    Raises:
        InputError: there are wrong ones; the message has all of them.
    """
    wrong = []
    for finding in (entry.about(subject) for entry in findings):
        if finding.verdict == "wrong":
            wrong.append(finding.text)
        elif finding.verdict == "doubtful":
            shown = {"first_line": "doubtful", "text": f"{finding.subject}: {finding.text}"}
            MMLogger.get_current_instance().warning(str(finding), extra=shown)
        else:
            MMLogger.get_current_instance().info(str(finding))
    if len(wrong) == 1:
        raise InputError(wrong[0])
    if wrong:
        raise InputError("\n".join([f"{len(wrong)} things are wrong:", *(f"- {text}" for text in wrong)]))

"""Analysis of a detector: its figures, its errors by kind, and its worst images."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..measure.errors import KINDS, RIGHT, SET_ASIDE, Judged, costs, counts, judge
from ..measure.instances import AnnotatedImage, Instances, box_areas
from ..measure.matching import RECALLS, Curve, Pair, by_class, curves, match, mean, precisions
from . import charts
from .page import NOTHING, Page, number, share
from .pictures import beside

SHOWN = 12  # classes in a chart, and images
BINS = 10  # bins of scores
BACKGROUND = "(background)"
CROWDS = ((1, 1), (2, 4), (5, 9), (10, 19), (20, 10**9))  # objects in an image
ENOUGH = 0.5  # IoU

ReadImage = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Detected:
    """A detector's results on annotated images.

    Attributes:
        images: the annotated objects of each image.
        found: the found objects of each image.
        classes: names of the classes.
        score: least score of a detection that counts as positive.
    """

    images: Sequence[AnnotatedImage]
    found: Sequence[Instances]
    classes: tuple[str, ...]
    score: float

    def pairs(self, masks: bool) -> list[Pair]:
        """Return the pairs of all images, compared by their masks or by their boxes."""
        return [
            Pair.of(image.truth, found)
            if masks
            else Pair.of(replace(image.truth, masks=None), replace(found, masks=None, areas=box_areas(found.boxes)))
            for image, found in zip(self.images, self.found, strict=True)
        ]

    @property
    def masks(self) -> bool:
        return any(found.masks is not None for found in self.found)


def figures(pairs: Sequence[Pair], classes: int) -> dict[str, float]:
    """Return COCO's figures: AP (mean over IoU 0.5 to 0.95), AP50, AP75, and AP by size; means over the classes."""
    parts = by_class(pairs, classes)
    everything = precisions(parts)
    metrics = {"AP": mean(everything.mean(axis=1)), "AP50": mean(everything[:, 0]), "AP75": mean(everything[:, 5])}
    for size in ("small", "medium", "large"):
        metrics[f"AP {size}"] = mean(precisions(parts, size).mean(axis=1))
    return metrics


def report(detected: Detected, page: Page, read: ReadImage, palette: Sequence[tuple[int, int, int]] | None) -> dict[str, float]:
    """Add all sections to a page, and return COCO's figures of masks, or of boxes if there are none."""
    kind = "masks" if detected.masks else "boxes"
    pairs = detected.pairs(detected.masks)
    metrics = figures(pairs, len(detected.classes))
    judged = [judge(pair) for pair in pairs]
    _summary(page, detected, metrics, kind)
    _classes(page, detected, pairs)
    _errors(page, detected, judged)
    _confusion(page, detected, pairs)
    _calibration(page, judged)
    _sizes_and_crowds(page, detected, judged, metrics)
    _worst(page, detected, judged, read, palette)
    return metrics


def _summary(page: Page, detected: Detected, metrics: dict[str, float], kind: str) -> None:
    objects = sum(int((~image.truth.crowd).sum()) for image in detected.images)
    page.section("Figures", f"COCO's average precision of {kind}, of which the best is 1, mean over the classes.")
    page.figures({name: number(value) for name, value in metrics.items()})
    if kind == "masks":
        page.paragraph("The same of boxes:")
        page.figures({name: number(value) for name, value in figures(detected.pairs(False), len(detected.classes)).items()})
    page.paragraph(f"{len(detected.images)} images with {objects} annotated objects of {len(detected.classes)} classes.")


def _classes(page: Page, detected: Detected, pairs: Sequence[Pair]) -> None:
    parts = by_class(pairs, len(detected.classes))
    everything = precisions(parts)
    at_half = {name: curves(part, (ENOUGH,))[0] for name, part in zip(detected.classes, parts, strict=True)}
    rows = []
    for name, one, row in zip(detected.classes, at_half.values(), everything, strict=True):
        score, best = one.best_score
        sure = int((one.scores >= detected.score).sum())
        right = int(one.right[one.scores >= detected.score].sum())
        rows.append(
            [
                *(name, number(float(row.mean())), number(row[0]), number(row[5]), str(one.positives), str(sure)),
                *(ratio(right, sure), ratio(right, one.positives), number(score, 2), number(best)),
            ]
        )
    page.section(
        "Classes",
        f"Precision and recall are those of detections with a score of at least {detected.score:g} at IoU 0.5. The last "
        "columns tell from which score on F1, the harmonic mean of the two, is best.",
    )
    header = ["class", "AP", "AP50", "AP75", "objects", "detections", "precision", "recall", "best score", "F1"]
    page.table(header, rows)
    page.charts((_precision_recall(at_half), "precision over recall of each class"))


def ratio(part: int, whole: int) -> str:
    return share(part / whole if whole else float("nan"))


def _precision_recall(curves: dict[str, Curve]) -> bytes:
    named = sorted((item for item in curves.items() if item[1].positives), key=lambda item: -item[1].positives)
    drawn = {name: (RECALLS, one.at_recalls) for name, one in named[:SHOWN]}
    if len(named) > 1:
        drawn["mean of all"] = (RECALLS, np.mean([one.at_recalls for _, one in named], axis=0))
    return charts.lines(drawn, "Precision and recall at IoU 0.5", "recall", "interpolated precision")


def _errors(page: Page, detected: Detected, judged: Sequence[Judged]) -> None:
    cost, all_of_them = costs(judged, len(detected.classes)), counts(judged)
    sure = counts(judged, detected.score)
    page.section(
        "Errors by kind",
        "As TIDE names them (arXiv 2008.08115). The cost is by how much AP50 would rise if the errors of this kind alone were "
        "mended. place: IoU 0.1 to 0.5 with an object of the class; class: enough IoU with one of another; duplicate: a surer "
        "detection has the object; background: IoU below 0.1 with anything; both: class and place; missed: an object with no "
        "detection that is right, or right but for class or place.",
    )
    page.charts((charts.bars(cost, "What each kind costs", "AP50"), "cost of each kind of error"))
    rows = [
        [kind, number(cost[kind]), str(all_of_them[kind]), str(sure[kind]) if kind != "missed" else NOTHING] for kind in KINDS
    ]
    page.table(["kind", "cost in AP50", "errors", f"with a score from {detected.score:g}"], rows)


def confusion(pairs: Sequence[Pair], classes: int, score: float) -> np.ndarray:
    """Return the confusion matrix (classes + 1, classes + 1), true by found class; the last one is background.

    Each detection with at least `score`, highest score first, takes the object that it overlaps most, of any class, at IoU 0.5.
    """
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for pair in pairs:
        sure = pair.found.scores >= score
        labels = pair.found.labels[sure]
        matched = match(pair.overlap[sure], pair.truth.crowd, pair.truth.crowd, ENOUGH)
        lost = ~pair.truth.crowd
        for label, index in zip(labels, matched, strict=True):
            if index < 0:
                matrix[classes, label] += 1
            elif not pair.truth.crowd[index]:
                matrix[pair.truth.labels[index], label] += 1
                lost[index] = False
        np.add.at(matrix, (pair.truth.labels[lost], classes), 1)
    return matrix


def _confusion(page: Page, detected: Detected, pairs: Sequence[Pair]) -> None:
    matrix = confusion(pairs, len(detected.classes), detected.score)
    page.section(
        "Confusion",
        f"Detections with a score from {detected.score:g}, each given to the object that it overlaps most at IoU 0.5, of "
        "whatever class. Numbers are per cent of their row. The last column is what was not found, the last row what is "
        "not there.",
    )
    names = [*detected.classes, BACKGROUND]
    page.charts((charts.matrix(matrix, names, names, "What is found as what"), "confusion matrix"))
    page.paragraph("The most frequent confusions:")
    page.table(["true", "predicted", "times", "share of the true ones"], worst_confusions(matrix, names))


def worst_confusions(counts: np.ndarray, names: Sequence[str], most: int = 10) -> Iterator[list[str]]:
    """Yield the largest cells off the diagonal as rows of a table: true class, predicted class, count, share of the row."""
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    for cell in np.argsort(-wrong, axis=None, kind="stable")[:most]:
        row, column = divmod(int(cell), len(counts))
        if wrong[row, column]:
            yield [names[row], names[column], str(wrong[row, column]), share(wrong[row, column] / counts[row].sum())]


def bins_of(scores: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return mean score, share of correct detections and number by tenths of the score, and the calibration error (ECE)."""
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    number_in = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean_scores = np.bincount(place, scores, minlength=BINS) / number_in
        true = np.bincount(place, right, minlength=BINS) / number_in
    filled = number_in > 0
    error = float((np.abs(mean_scores - true)[filled] * number_in[filled]).sum() / max(len(scores), 1))
    return mean_scores, true, number_in, error


def _calibration(page: Page, judged: Sequence[Judged]) -> None:
    scores = np.concatenate([np.zeros(0), *(one.pair.found.scores for one in judged)])
    verdicts = np.concatenate([np.zeros(0, dtype=object), *(one.verdicts for one in judged)])
    kept = verdicts != SET_ASIDE
    mean_scores, true, number_in, error = bins_of(scores[kept], verdicts[kept] == RIGHT)
    page.section(
        "Calibration",
        "Whether of the detections with score 0.7 seven in ten are right (at IoU 0.5). Bars below the dashed line: too sure. "
        f"The mean distance (expected calibration error) is {number(error)}.",
    )
    drawn = charts.reliability(mean_scores, true, number_in, "Score and precision", "share of right ones")
    page.charts((drawn, "share of right detections at each score"))


def neighbours(boxes: np.ndarray) -> np.ndarray:
    """Return the number of other boxes that each box overlaps, (N,)."""
    corners = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    return (corners[1] > corners[0]).all(axis=2).sum(axis=1) - 1


def _sizes_and_crowds(page: Page, detected: Detected, judged: Sequence[Judged], metrics: dict[str, float]) -> None:
    sides, beside_it, got = [np.zeros(0)], [np.zeros(0, dtype=int)], [np.zeros(0, dtype=bool)]
    for one in judged:
        single = ~one.pair.truth.crowd
        right = one.targets[(one.verdicts == RIGHT) & (one.pair.found.scores >= detected.score)]
        sides.append(np.sqrt(one.pair.truth.areas[single]))
        beside_it.append(neighbours(one.pair.truth.boxes)[single])
        got.append(np.isin(np.arange(len(single)), right)[single])
    side, near, found = np.concatenate(sides), np.concatenate(beside_it), np.concatenate(got)
    page.section("Size and crowding", f"Recall is that of detections with a score from {detected.score:g} at IoU 0.5.")
    page.figures({name: number(metrics[name]) for name in ("AP small", "AP medium", "AP large")})
    powers = np.floor(np.log2(np.maximum(side, 1))).astype(int)
    by_side = {
        f"{2**power} to {2 ** (power + 1)} px ({(powers == power).sum()})": powers == power for power in np.unique(powers)
    }
    names = ("alone", "overlaps one", "overlaps two", "overlaps more")
    by_near = {f"{name} ({(np.minimum(near, 3) == few).sum()})": np.minimum(near, 3) == few for few, name in enumerate(names)}
    page.charts(
        (_recall(by_side, found, "Recall by size: root of the area"), "recall by size"),
        (_recall(by_near, found, "Recall by crowding: other boxes"), "recall by crowding"),
    )
    rows = []
    for low, high in CROWDS:
        pairs = [one.pair for one in judged if low <= int((~one.pair.truth.crowd).sum()) <= high]
        if pairs:
            everything = precisions(by_class(pairs, len(detected.classes)))
            name = f"{low}" if low == high else f"{low} to {high}" if high < 10**9 else f"{low} or more"
            rows.append([name, str(len(pairs)), number(mean(everything.mean(axis=1))), number(mean(everything[:, 0]))])
    page.table(["objects in the image", "images", "AP", "AP50"], rows)


def _recall(groups: dict[str, np.ndarray], found: np.ndarray, title: str) -> bytes:
    return charts.bars({name: float(found[group].mean()) for name, group in groups.items() if group.any()}, title, "recall")


def badness(one: Judged, score: float) -> tuple[float, int]:
    """Return the key that sorts the worst images first: F1 of the detections with at least a score, and minus their errors."""
    sure = one.pair.found.scores >= score
    right = int((one.verdicts[sure] == RIGHT).sum())
    wrong = int(np.isin(one.verdicts[sure], KINDS).sum())
    there = int((~one.pair.truth.crowd).sum())
    total = right + wrong + there
    return (2 * right / total if total else 1.0), right - wrong - there


def _worst(
    page: Page,
    detected: Detected,
    judged: Sequence[Judged],
    read: ReadImage,
    palette: Sequence[tuple[int, int, int]] | None,
) -> None:
    order = sorted(range(len(judged)), key=lambda index: badness(judged[index], detected.score))
    page.section("Worst images", "Ground truth left, predictions right; by F1 at the score from which detections are drawn.")

    def tiles() -> Iterator[tuple[np.ndarray, str]]:
        for index in order[:SHOWN]:
            image, one = detected.images[index], judged[index]
            sure = one.pair.found.select(one.pair.found.scores >= detected.score)
            picture = beside(read(image.path), image.truth, sure, image.path, detected.classes, palette)
            yield picture, f"{image.path}: {words_on(one, detected.score)}"

    page.pictures(tiles())


def words_on(one: Judged, score: float) -> str:
    """Describe what is right and wrong in an image."""
    sure = one.pair.found.scores >= score
    numbers = Counter(one.verdicts[sure].tolist())
    right = numbers[RIGHT]
    parts = [f"{right} of {int((~one.pair.truth.crowd).sum())} right"]
    parts += [f"{numbers[kind]} {kind}" for kind in KINDS if numbers[kind]]
    return ", ".join(parts)

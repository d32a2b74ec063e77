"""Exported models without the training stack: NumPy, OpenCV and the file's own runtime are all that it imports.

    run = Runner("model.onnx")
    print(run("street.jpg").names)

`mmvit.Predictor` and `mmvit predict` use it for exported files, with the results that the checkpoint would give.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..data.tiff import too_large
from ..errors import InputError
from .results import Detections, LabelMap, Result
from .sessions import SESSIONS, Session, open_session
from .sources import pixels

SUFFIXES = tuple(SESSIONS)


class Read:
    """Reading of an image file, in the form of a step of a pipeline: 8-bit BGR, turned as EXIF says."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `img` (H, W, 3), `img_shape` and `ori_shape` to `results`, which name the file as `img_path`.

        Raises:
            InputError: no such file, or no image.
        """
        path = Path(results["img_path"])
        if not path.is_file():
            raise InputError(f"image {path}: no such file. Expected a JPEG, PNG or other image that OpenCV reads")
        image = decoded(path.read_bytes(), f"image {path}")
        size = image.shape[:2]
        return dict(results, img=image, img_shape=size, ori_shape=size)


def decoded(content: bytes, name: str) -> np.ndarray:
    """Return the image (H, W, 3), 8-bit BGR, that is the content of a file. Raise InputError if it is none."""
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error as error:
        raise InputError(f"{name}: {too_large(error) or str(error).strip()}") from error
    if image is None:
        raise InputError(f"{name}: it cannot be decoded as an image. Expected a JPEG, PNG or other that OpenCV reads")
    return image


def reader_of(metadata: dict[str, Any]) -> Any:
    """Return how an exported model's images are read."""
    if not metadata.get("bands"):
        return Read()
    from ..data.tiff import ReadBands  # pictures do without

    return ReadBands(**metadata["bands"])


def require_score(score: float) -> None:
    """Raise InputError if a least score of objects is no number from 0 to 1; above 1 nothing would be found."""
    if not 0 <= score <= 1:
        raise InputError(f"score {score}: expected a number from 0 to 1")


class Runner:
    """An exported detector or segmenter as a function of one image.

    Args:
        file: what `mmvit export` wrote: `.onnx`, `.xml` or `.pt2`; or one that is open already.
        score: least score of an object; the file's own threshold may be higher.
        device, precision, streams: as in `open_session`.

    Raises:
        InputError: the file cannot be opened, or holds a backbone alone; a score that is none.
    """

    def __init__(
        self,
        file: str | Path | Session,
        score: float = 0.3,
        device: str = "auto",
        precision: str | None = None,
        streams: int = 1,
    ) -> None:
        require_score(score)
        self.opened = file, score, device, precision, streams
        opened = file if isinstance(file, Session) else open_session(file, device, precision, streams)
        self.run, self.metadata, self.precision = opened
        if self.metadata["kind"] == "backbone":
            raise InputError(f"{file}: a backbone alone gives maps, not results; open it with mmvit.predict.sessions")
        self.score, self.read = score, reader_of(self.metadata)
        self.scope = "mmseg" if self.metadata["kind"] == "segmenter" else "mmdet"
        self.classes = tuple(self.metadata["classes"])
        colours = self.metadata["palette"]
        self.palette = tuple((red, green, blue) for red, green, blue in colours) if colours else None
        self.category_ids = tuple(self.metadata.get("category_ids") or ()) or None

    def __reduce__(self) -> tuple:
        """Pickle as the file and the options, with which another process opens it again."""
        return Runner, self.opened

    def __call__(self, image: str | Path | bytes | np.ndarray) -> Result:
        """Return what the model finds in a file, in its content, or in an array in BGR; see `sources.pixels`.

        Raises:
            InputError: the image cannot be read, has another size than a model of one size takes, or is no file of bands.
        """
        if isinstance(self.read, Read) and isinstance(image, bytes | np.ndarray):
            taken = decoded(image, "image") if isinstance(image, bytes) else pixels(image, "bgr", "image")
            return self.find("image", self.prepare(dict(img=taken))["inputs"], taken.shape[:2])
        if not isinstance(image, str | Path):
            bands = " A model of bands reads no bytes and no arrays." * isinstance(image, bytes | np.ndarray)
            raise InputError(f"image: {type(image).__name__}. Expected a path, the bytes of a file, or an array.{bands}")
        data = self.read.transform(dict(img_path=str(image)))
        return self.find(str(image), self.prepare(data)["inputs"], data["ori_shape"])

    def prepare(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return `inputs`, the pixels (h, w, 3) of `data["img"]` at the test scale."""
        return dict(inputs=resize(data["img"], self.metadata["scale"]), data_samples=None)

    def find(self, source: str, pixels: np.ndarray, size: tuple[int, int]) -> Result:
        """Return the result of an image of `size` from its pixels at the test scale."""
        self.require_size(source, pixels)
        if self.scope == "mmseg":
            return self.label_maps([source], pixels[None], size)[0]
        feed: dict[str, np.ndarray] = dict(image=np.ascontiguousarray(pixels[None]))
        if "size" in self.metadata["inputs"]:  # of the masks
            feed["size"] = np.array(size, np.int64)
        # The file's threshold has to be exceeded, ours reached; what lies below costs time in the second stage and in masks.
        below = float(np.nextafter(np.float32(self.score), np.float32(-1)))
        feed["score_threshold"] = np.array(max(self.metadata["score_threshold"], below), np.float32)
        boxes, scores, labels, *masks = self.run(feed)
        # The factors, and the product with their inverses, are in the precision of mmdet.
        factors = [1 / (new / old) for new, old in zip(pixels.shape[1::-1], size[::-1], strict=True)]
        kept = np.flatnonzero(scores >= self.score)
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        boxes = (boxes[kept] * np.array(factors * 2, np.float32)).astype(np.float32)
        found = masks[0][kept] if masks else None
        if found is not None and "size" not in feed:
            found = paste(found, boxes, size, self.metadata["mask_threshold"])
        return Detections(source, size, boxes, scores[kept].astype(np.float32), labels[kept], self.classes, found)

    def find_all(self, sources: Sequence[str], pixels: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> list[Result]:
        """Return the results of images with one shape at the test scale; segmenters take those of one size in one pass."""
        if len(sources) > 1 and self.scope == "mmseg" and self.metadata["batch"] is None and len(set(sizes)) == 1:
            self.require_size(sources[0], pixels[0])
            return self.label_maps(sources, np.stack(pixels), sizes[0])
        return [self.find(*image) for image in zip(sources, pixels, sizes, strict=True)]

    def label_maps(self, sources: Sequence[str], pixels: np.ndarray, size: tuple[int, int]) -> list[Result]:
        """Return the label maps of images of `size` from their pixels (B, h, w, 3) at the test scale."""
        (found,) = self.run(dict(image=np.ascontiguousarray(pixels), size=np.array(size, np.int64)))
        return [LabelMap.of(source, size, labels, self.classes) for source, labels in zip(sources, found, strict=True)]

    def require_size(self, source: str, pixels: np.ndarray) -> None:
        """Raise InputError if a file of one size is given another."""
        fixed = self.metadata["size"]
        if fixed and list(pixels.shape[:2]) != fixed:
            raise InputError(
                f"{source}: {pixels.shape[0]} x {pixels.shape[1]} pixels (height x width) at the test scale, but this model "
                f"takes {fixed[0]} x {fixed[1]} only; export it without --size, or give images of that shape"
            )


def resize(image: np.ndarray, rule: dict[str, Any] | None) -> np.ndarray:
    """Return an image at the test scale, as mmcv's `Resize` makes it.

    Args:
        image: (H, W, 3).
        rule: `scale` (two sides of a frame, width first where the ratio is not kept), or `scale_factor` (of width and height)
            where the frame depends on the image, and `keep_ratio`; None leaves it alone.

    Raises:
        InputError: nothing would be left of one side.
    """
    if rule is None:
        return image
    height, width = image.shape[:2]
    frame = rule.get("scale")
    if frame is None:
        across, down = rule["scale_factor"]
        frame = (int(width * across + 0.5), int(height * down + 0.5))
    if rule["keep_ratio"]:
        factor = min(max(frame) / max(height, width), min(frame) / min(height, width))
        size = (int(width * factor + 0.5), int(height * factor + 0.5))
    else:
        size = (frame[0], frame[1])
    if min(size) < 1:
        raise InputError(f"an image of {height} x {width} pixels: resizing would leave nothing of it; cut it into pieces")
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def paste(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int], threshold: float) -> np.ndarray:
    """Return (N, H, W) bool masks of a picture from probabilities (N, h, w) within the boxes.

    Bilinear, with zeros around each mask, and pixels taken at their centres, as in mmdet.
    """
    pasted = np.zeros((len(masks), *size), dtype=bool)
    for mask, box, canvas in zip(masks, boxes, pasted, strict=True):
        x1, y1, x2, y2 = box
        left, top = max(int(np.floor(x1)) - 1, 0), max(int(np.floor(y1)) - 1, 0)
        right, bottom = min(int(np.ceil(x2)) + 1, size[1]), min(int(np.ceil(y2)) + 1, size[0])
        if right <= left or bottom <= top or x2 <= x1 or y2 <= y1:
            continue
        rows = weights(np.arange(top, bottom), y1, y2, mask.shape[0])
        columns = weights(np.arange(left, right), x1, x2, mask.shape[1])
        canvas[top:bottom, left:right] = rows @ mask.astype(np.float32) @ columns.T >= threshold
    return pasted


def weights(pixels: np.ndarray, start: float, end: float, bins: int) -> np.ndarray:
    """Return the weights (pixels, bins) of bilinear sampling of `bins` values that lie between `start` and `end`."""
    place = (pixels.astype(np.float32) + 0.5 - start) / (end - start) * bins - 0.5
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(bins, dtype=np.float32))).astype(np.float32)

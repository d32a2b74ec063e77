"""Predictor: a trained model as a function from images to plain results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data.tiff import visible
from ..errors import InputError, brief
from .results import Detections, LabelMap, Result
from .runner import SUFFIXES, Runner, require_score
from .sessions import PRECISIONS
from .sources import Channels, Source, Tell, as_read, dark, sources, tell_of, warn
from .tiles import merged, tiles

WINDOW = 4  # number of batches in which images of the same size are searched

if TYPE_CHECKING:  # imported where a checkpoint is opened: exported models do without it
    from mmengine.config import Config

Failed = Callable[[InputError], None]


class Prepared(NamedTuple):
    """An image before and after the pipeline: `inputs` and `data_samples` are lists of views with test-time augmentation."""

    name: str
    pixels: np.ndarray
    inputs: Any
    sample: Any

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def shape(self) -> tuple:
        return tuple(view.shape for view in (self.inputs if isinstance(self.inputs, list) else [self.inputs]))


class Predictor:
    """A trained detector or segmenter as a function of images.

        for result in mmvit.Predictor("retinanet_pvt_small_coco", "epoch_12.pth")("photos/"):
            print(result.source, result.names, result.scores)

    Args:
        config: a file, the name of one of our configs, a `Config`, or None for the config in the checkpoint, read as data.
        checkpoint: file of a training, or a model that `mmvit export` wrote, which needs no config.
        device: torch's name of a device; `auto` takes a GPU if there is one.
        score: least score of an object; the model's own `test_cfg.score_thr` may be higher.
        batch_size: most images in one pass; only images of one size share a pass, so results do not depend on it.
        precision: one of `sessions.PRECISIONS`; None for float32, or for what an exported model was written for.
        tta: whether to use the config's test-time augmentation.
        tile: side in pixels of the tiles that larger images are cut into; each goes through the test pipeline by itself.
        overlap: least share of a tile's side that neighbours have in common; it should hold the largest object.

    Raises:
        InputError: a config, checkpoint, device or option is wrong.
    """

    def __init__(
        self,
        config: "str | Path | Config | None",
        checkpoint: str | Path,
        device: str = "auto",
        score: float = 0.3,
        batch_size: int = 1,
        precision: str | None = None,
        tta: bool = False,
        tile: int | None = None,
        overlap: float = 0.2,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size {batch_size}: expected a whole number from 1")
        require_score(score)
        if precision not in (None, *PRECISIONS):
            raise InputError(f"precision {precision}: expected {', '.join(PRECISIONS)}, or None")
        if tile is not None and tile < 1:
            raise InputError(f"tile {tile}: expected a whole number of pixels from 1")
        if not 0 <= overlap < 1:
            raise InputError(f"overlap {overlap}: expected a number from 0 to less than 1")
        self.tile, self.overlap = tile, overlap
        self.tell: Tell = warn  # receives remarks on what is left aside or nearly black
        self.score, self.batch_size = score, batch_size
        self.loaded: Any
        if str(checkpoint).lower().endswith(SUFFIXES):
            if tta:
                raise InputError(f"{checkpoint}: an exported model has no tta; leave it out")
            self.loaded = Runner(checkpoint, score, device, precision)
            self.precision = self.loaded.precision
        else:
            from ..layers.forms import fastest_precision
            from .models import load, require_results, torch_device

            self.device = torch_device(device)
            self.precision = fastest_precision(self.device.type) if precision == "auto" else precision or "float32"
            self.loaded = load(config, checkpoint, self.device, tta)
            require_results(self.loaded.config, str(config or checkpoint))
        name = None if config is None else getattr(config, "filename", str(config))
        options = dict(score=score, precision=self.precision, tta=tta, tile=tile, overlap=overlap)
        self.settings = dict(config=name, checkpoint=str(checkpoint), **options)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.loaded.classes

    def __call__(self, images: Any, channels: Channels | None = None, failed: Failed | None = None) -> Iterator[Result]:
        """Yield a `Detections` or a `LabelMap` for each image, in order, while later images are read.

        Args:
            images: a path, folder, glob, PIL image, array or tensor, or an iterable of these; see `sources`.
            channels: `rgb` or `bgr`, needed for arrays and tensors.
            failed: function that receives the error of an image that cannot be used; the image is left out. By default the
                error is raised.

        Raises:
            InputError: an image cannot be used, and `failed` is not given.
        """
        for result, _ in self.with_pixels(images, channels, failed):
            yield result

    def with_pixels(
        self, images: Any, channels: Channels | None = None, failed: Failed | None = None
    ) -> Iterator[tuple[Result, np.ndarray]]:
        """Yield the results of images, each with the image (H, W, 3), BGR, uint8; the rest is as in a call."""
        found = sources(images, channels, tell_of(self.loaded.read, self.tell))
        yield from self._stream(found, failed) if self.tile is None else self._tiled(found, failed, self.tile)

    def _tiled(self, images: Iterable[Source], failed: Failed | None, side: int) -> Iterator[tuple[Result, np.ndarray]]:
        """Yield the results of images that are cut into tiles; the tiles of an image share batches."""
        for image in images:
            try:
                whole = self._opened(image)
                places = tiles(size := whole.shape[:2], side, self.overlap)
                cut = (Source(image.name, np.ascontiguousarray(place.of(whole)), True) for place in places)
                pixels, parts = np.empty((*size, 3), np.uint8), []
                for place, (part, seen) in zip(places, self._stream(cut, None), strict=True):
                    place.of(pixels)[:] = seen
                    parts.append(part)
            except InputError as error:
                _fail(error, failed)
                continue
            yield merged(image.name, size, list(zip(places, parts, strict=True))), pixels

    def _opened(self, image: Source) -> Any:
        """Return the pixels of an image as the model's training reads it; those of many bands are read when they are sliced."""
        if image.pixels is not None:
            return as_read(image, self.loaded.read)
        if windows := getattr(self.loaded.read, "windows", None):
            return windows(image.name)
        read = self.loaded.read
        transform = getattr(read, "unchecked", read.transform)  # of any shape: tiles are cut of it
        found = transform(dict(img_path=image.name))["img"]
        dark(image.name, found, self.tell)
        return found

    def read(self, path: str) -> np.ndarray:
        """Return the pixels (H, W, 3), BGR, uint8, of an image file as the model's training reads it; of many bands, three.

        Raises:
            InputError: it cannot be read.
        """
        return self._visible(self.loaded.read.transform(dict(img_path=path))["img"])

    def _visible(self, pixels: np.ndarray) -> np.ndarray:
        return visible(pixels, normalised=hasattr(self.loaded.read, "windows"))

    def _stream(self, images: Iterable[Source], failed: Failed | None) -> Iterator[tuple[Result, np.ndarray]]:
        prepared = self._prepared(images, failed)
        while window := list(islice(prepared, 1 if self.batch_size == 1 else WINDOW * self.batch_size)):
            yield from self._window(window, failed)

    def _prepared(self, images: Iterable[Source], failed: Failed | None) -> Iterator[Prepared]:
        """Yield images in order, while a thread reads the images of the next batch."""
        pending: deque[Future[Prepared]] = deque()
        with ThreadPoolExecutor(max_workers=1) as reader:
            try:
                for image in images:
                    pending.append(reader.submit(self._prepare, image))
                    if len(pending) > self.batch_size:
                        yield from _finished(pending.popleft(), failed)
                while pending:
                    yield from _finished(pending.popleft(), failed)
            finally:
                for future in pending:
                    future.cancel()

    def _prepare(self, image: Source) -> Prepared:
        """Read an image and run the pipeline on it. Raise InputError, whatever fails: the image is left out, not the rest."""
        data: Any = dict(img_path=image.name, img_id=0)
        try:
            if image.pixels is None:
                data = self.loaded.read.transform(data)
                dark(image.name, data["img"], self.tell)
            else:
                size = image.pixels.shape[:2]
                data.update(img=as_read(image, self.loaded.read), img_shape=size, ori_shape=size)
            pixels = self._visible(data["img"])
            data = self.loaded.prepare(data)
            if not isinstance(self.loaded, Runner):
                self.loaded.require_channels(image.name, data["inputs"])
        except Exception as error:
            if isinstance(error, InputError) and image.name in str(error):
                raise
            size = " of {} x {} pixels".format(*data["img"].shape) if "img" in data else ""
            raise InputError(
                f"image {image.name}{size}: it cannot be read, or the test pipeline fails on it: {brief(error)}"
            ) from error
        return Prepared(image.name, pixels, data["inputs"], data["data_samples"])

    def _window(self, images: list[Prepared], failed: Failed | None) -> Iterator[tuple[Result, np.ndarray]]:
        groups: dict[tuple, list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(image.shape, []).append(index)
        results: dict[int, Result | None] = {}
        for group in groups.values():
            for start in range(0, len(group), self.batch_size):
                part = group[start : start + self.batch_size]
                results.update(zip(part, self._tried([images[index] for index in part], failed), strict=True))
        for index, image in enumerate(images):
            if (result := results[index]) is not None:
                yield result, image.pixels

    def _tried(self, images: list[Prepared], failed: Failed | None) -> list[Result | None]:
        """Return the results of images; None for one too large for the memory, or that the model does not take."""
        try:
            return list(self._predict(images))
        except (InputError, MemoryError, RuntimeError) as error:
            if len(images) > 1:
                return [result for image in images for result in self._tried([image], failed)]
            (image,) = images
            reason = "too many for the model or the memory; cut it with --tile, or give smaller ones"
            if not any(part in f"{type(error)} {error}".lower() for part in ("memory", "alloc", "int32 index")):
                if not isinstance(error, InputError) and not isinstance(self.loaded, Runner):
                    raise
                reason = f"not what the exported model takes: {brief(error)}"
            told = InputError(f"image {image.name}: {image.size[0]} x {image.size[1]} pixels are {reason}")
            _fail(error if isinstance(error, InputError) else told, failed)
            return [None]

    def _predict(self, images: list[Prepared]) -> list[Result]:
        if isinstance(self.loaded, Runner):
            return self.loaded.find_all(
                [image.name for image in images], [image.inputs for image in images], [image.size for image in images]
            )
        import torch

        inputs, samples = [image.inputs for image in images], [image.sample for image in images]
        kind = getattr(torch, self.precision)
        reduced = nullcontext() if kind is torch.float32 else torch.autocast(self.device.type, kind)
        with torch.inference_mode(), reduced:  # no scope: nothing is built, and it would be one for all threads
            if isinstance(inputs[0], list):  # mmengine's lists have views outside, images inside
                inputs, samples = (
                    [list(view) for view in zip(*inputs, strict=True)],
                    [list(view) for view in zip(*samples, strict=True)],
                )
            found = self.loaded.model.test_step(dict(inputs=inputs, data_samples=samples))
        return [self._result(image, sample) for image, sample in zip(images, found, strict=True)]

    def _result(self, image: Prepared, sample: Any) -> Result:
        if self.loaded.scope == "mmseg":
            return LabelMap.of(image.name, image.size, sample.pred_sem_seg.data[0].cpu().numpy(), self.classes)
        found = sample.pred_instances
        found = found[found.scores >= self.score].cpu()
        found = found[found.scores.argsort(descending=True, stable=True)]
        return Detections(
            image.name,
            image.size,
            found.bboxes.float().numpy(),
            found.scores.float().numpy(),
            found.labels.long().numpy(),
            self.classes,
            found.masks.bool().numpy() if "masks" in found else None,
        )


def _finished(future: Future[Prepared], failed: Failed | None) -> Iterator[Prepared]:
    try:
        image = future.result()
    except InputError as error:
        _fail(error, failed)
    else:
        yield image


def _fail(error: InputError, failed: Failed | None) -> None:
    """Give an error to `failed`, or raise it where there is none."""
    if failed is None:
        raise error
    failed(error)

"""A runner of an exported file: what it takes for an image."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvit.errors import InputError
from mmvit.predict.runner import Runner
from mmvit.predict.sessions import Session

pytestmark = [pytest.mark.stack, pytest.mark.once]


def test_a_runner_takes_what_a_client_sent(tmp_path: Path) -> None:
    given = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), given)
    found = np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64)
    about = dict(kind="detector", classes=["a"], palette=None, inputs=["image"], size=None, scale=None, score_threshold=0.05)
    seen: list[np.ndarray] = []
    run = Runner(Session(lambda feed: [seen.append(feed["image"]), *found][1:], about, "float32"))
    assert run((tmp_path / "a.png").read_bytes()).size == (40, 60)
    for sent in (b"", b"garbage"):
        with pytest.raises(InputError, match="image: it cannot be decoded as an image"):
            run(sent)
    with pytest.raises(InputError, match=r"image: NoneType\. Expected a path, the bytes of a file, or an array"):
        run(None)  # type: ignore[arg-type]
    for array in (given, given / 255):
        assert run(array).size == (40, 60)
        assert seen[-1].dtype == np.uint8
        assert (seen[-1] == given).all()
    assert run(given[..., 1]).size == (40, 60)
    assert (seen[-1] == given[..., 1:2]).all()
    for wrong in (given * 257.0, given.astype(np.uint16), given[None], given[:0], np.dstack([given, given[..., 0]])):
        with pytest.raises(InputError, match=r"image: (shape|numbers).* Expected"):
            run(wrong)
    about["bands"] = dict(mean=[0.0], std=[1.0])
    for sent in (b"garbage", given):
        with pytest.raises(InputError, match="A model of bands reads no bytes and no arrays"):
            Runner(Session(lambda feed: list(found), about, "float32"))(sent)

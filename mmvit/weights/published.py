"""Published detectors and segmenters with these backbones; `mmvit://NAME` uses the names of our configs."""

from dataclasses import dataclass

SCHEME = "mmvit://"
MMDET = "https://download.openmmlab.com/mmdetection/v2.0/pvt/retinanet_{0}_fpn_1x_coco/retinanet_{0}_fpn_1x_coco_{1}.pth"
MMSEG = (
    "https://download.openmmlab.com/mmsegmentation/v0.5/van_3rdparty/van-{0}kpre_{1}_3rdparty_512x512-ade20k_20230522-{2}.pth"
)
VAN_FOLDER = "https://cloud.tsinghua.edu.cn/d/0100f0cea37d41ba8d08/"  # VAN-Segmentation's files, which mmseg converted
RESIZED = (
    "projects/van enlarges test images to multiples of 32, which these configs do not; for its figures put "
    "`dict(type='ResizeToMultiple', size_divisor=32)` behind `Resize` in the test pipeline"
)


@dataclass(frozen=True)
class WholeModelFile:
    """A detector or segmenter that somebody published: a row of `WHOLE_MODELS`. Of `licence` and its like see `Released`."""

    config: str  # name of our config for the same model
    figure: str  # result of its source: box AP on COCO, or mean IoU on ADE20K, in percent
    source: str  # toolkit or repository that published it
    licence: str | None = None
    url: str | None = None
    folder: str | None = None
    copies: tuple[str, ...] = ()
    remark: str = ""  # difference from the config that changes the result


def _retinanet(arch: str, figure: str, theirs: str, stamp: str) -> tuple[str, WholeModelFile]:
    name = f"retinanet_{arch}_coco"
    return name, WholeModelFile(name, figure, "mmdetection", "Apache-2.0", MMDET.format(theirs, stamp))


def _van(head: str, arch: str, figure: str, digest: str, images: str = "in1") -> tuple[str, WholeModelFile]:
    config = f"{head}_van_{arch}_ade20k"
    name = f"{head}_van_{arch}_22k_ade20k" if (arch, images) == ("b4", "in22") else config
    url = MMSEG.format(f"{arch}-{images}", head, digest)
    return name, WholeModelFile(
        config, figure, "mmsegmentation, projects/van", "Apache-2.0", url, folder=VAN_FOLDER, remark=RESIZED
    )


WHOLE_MODELS: dict[str, WholeModelFile] = dict(
    (
        _retinanet("pvt_tiny", "36.6", "pvt-t", "20210831_103110-17b566bd"),
        _retinanet("pvt_small", "40.4", "pvt-s", "20210906_142921-b6c94a5b"),
        _retinanet("pvt_medium", "41.7", "pvt-m", "20210831_103243-55effa1b"),
        _retinanet("pvt_v2_b0", "37.1", "pvtv2-b0", "20210831_103157-13e9aabe"),
        _retinanet("pvt_v2_b1", "41.2", "pvtv2-b1", "20210831_103318-7e169a7d"),
        _retinanet("pvt_v2_b2", "44.6", "pvtv2-b2", "20210901_174843-529f0b9a"),
        _retinanet("pvt_v2_b3", "46.0", "pvtv2-b3", "20210903_151512-8357deff"),
        _retinanet("pvt_v2_b4", "46.3", "pvtv2-b4", "20210901_170151-83795c86"),
        _retinanet("pvt_v2_b5", "46.1", "pvtv2-b5", "20210902_201800-3420eb57"),
        _van("upernet", "b2", "49.35", "19c58aee"),
        _van("upernet", "b3", "49.71", "653bd6b7"),
        _van("upernet", "b4", "51.56", "653bd6b7"),
        _van("upernet", "b4", "52.61", "4a4d744a", "in22"),
        _van("upernet", "b5", "53.11", "5bb6f2b4", "in22"),
        _van("upernet", "b6", "54.25", "e226b363", "in22"),
        _van("fpn", "b0", "38.65", "75a76298"),
        _van("fpn", "b1", "43.22", "104499ff"),
        _van("fpn", "b2", "46.84", "7074e6f8"),
        _van("fpn", "b3", "48.32", "2c3b7f5e"),
    )
)


def config_of(source: str) -> str | None:
    """Return the name of our config for `mmvit://NAME` of a whole model; None for anything else."""
    row = WHOLE_MODELS.get(source.removeprefix(SCHEME)) if source.startswith(SCHEME) else None
    return None if row is None else row.config

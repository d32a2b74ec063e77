"""`mmvit run`: every tool of the toolkits by its name, and what each answers on our configs and checkpoints.

What is broken here is broken in the toolkits. The rows say so, as docs/tools.md does, and fail once it is mended.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from mmengine.utils import is_installed
from mmengine.visualization import Visualizer
from trained import Trained

from mmvit.__main__ import main
from mmvit.commands.run import tools

pytestmark = pytest.mark.stack
FORKS = is_installed("onedl-mmdetection")


@dataclass(frozen=True)
class Row:
    """A call of a tool.

    Attributes:
        words: toolkit, tool and arguments; the fixture `places` says what {names} stand for.
        writes: files that it leaves behind, or folders that are not empty then.
        says: words that it prints.
        broken: words of its error where it does not work.
        mended: whether it works on the maintained forks.
    """

    words: str
    writes: Sequence[str] = ()
    says: str = ""
    broken: str = ""
    mended: bool = False

    def __str__(self) -> str:
        toolkit, tool, *_ = self.words.split()
        return f"{toolkit} {tool}"


ROWS = [
    Row("mmdet test {box} {box_weights} --out box.pkl --work-dir w", ["box.pkl"], "coco/bbox_mAP"),
    Row("mmdet test {mask} {mask_weights} --out mask.pkl --work-dir w", ["mask.pkl"], "coco/segm_mAP"),
    Row("mmdet test {box} {box_weights} --work-dir w --cfg-options test_evaluator.outfile_prefix=box", ["box.bbox.json"]),
    Row("mmdet print_config {box}", says="RetinaNet"),
    Row("mmdet analysis_tools/browse_dataset {mask} --output-dir browsed --not-show", ["browsed"]),
    Row("mmdet confusion_matrix {box} box.pkl confusion", ["confusion/confusion_matrix.png"]),
    Row("mmdet analyze_results {box} box.pkl analysed --topk 1", ["analysed/good", "analysed/bad"]),
    Row("mmdet eval_metric {mask} mask.pkl", says="coco/segm_mAP"),
    Row("mmdet coco_error_analysis box.bbox.json errors --ann {annotations} --types bbox", ["errors/bbox"]),
    Row("mmdet analysis_tools/get_flops {box} --num-images 1", says="Flops"),
    Row("mmdet optimize_anchors {box} --device cpu", broken="Only support optimize YOLOAnchor"),
    Row("mmdet fuse_results box.bbox.json box.bbox.json --annotation {annotations}", broken="models_name"),
    Row("mmdet publish_model {box_weights} published.pth"),
    Row("mmdet images2coco {images} classes.txt listed.json", says="save json file"),
    Row("mmdet get_image_metas {box} --dataset val", broken="must be csv or txt"),
    Row("mmdet test_robustness {box} {box_weights} --out r.pkl", broken="tools.analysis_tools"),
    Row("mmdet split_coco --data-root {coco} --out-dir split --labeled-percent 50 --fold 1", ["split"]),
    Row("mmdet analyze_logs cal_train_time log.json", says="average iter time", broken="seaborn", mended=True),
    Row("mmseg test {pixels} {pixels_weights} --out maps --work-dir w", ["maps"], "mIoU"),
    Row("mmseg print_config {pixels}", says="EncoderDecoder"),
    Row("mmseg analysis_tools/browse_dataset {ade} --output-dir seen --not-show", ["seen"], broken="Layout", mended=True),
    Row("mmseg misc/browse_dataset {ade} --output-dir seen_too --not-show", ["seen_too"], broken="Layout", mended=True),
    Row("mmseg get_flops {pixels} --shape 64 96", says="Flops", broken="cannot be both set", mended=True),
    Row("mmseg benchmark {pixels} {pixels_weights} --work-dir w", says="Average fps"),
    Row("mmseg analyze_logs log.json --keys mIoU --out curve.png", ["curve.png"], broken="seaborn"),
    Row("mmseg publish_model {pixels_weights} published.pth"),
    Row("mmseg pytorch2torchscript {pixels}", broken="test_cfg specified in both"),
]
ADE = """_base_ = {base!r}
part = dict(type="ADE20KDataset", metainfo=None)  # the demo's has no METAINFO, which these tools take
train_dataloader = dict(dataset=part)
test_dataloader = dict(dataset=part)
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Configs, checkpoints and data of a RetinaNet, a Mask R-CNN and a Semantic FPN, and the folder to work in."""
    folder = tmp_path_factory.mktemp("tools")
    made = {}
    for name, head in dict(box="retinanet", mask="mask_rcnn", pixels="fpn").items():
        (folder / name).mkdir()
        trained = Trained(head, folder / name)
        made |= {name: str(trained.config), f"{name}_weights": str(trained.checkpoint)}
    coco = folder / "box/data/coco"
    made |= dict(coco=str(coco), annotations=f"{coco}/annotations/instances_val2017.json", images=f"{coco}/val2017")
    (folder / "ade.py").write_text(ADE.format(base=made["pixels"]))
    (folder / "classes.txt").write_text("a\nb\n")
    steps = [dict(lr=0.1, loss=1 / (i + 1), time=0.1, data_time=0.01, epoch=1, iter=i + 1, step=i + 1) for i in range(6)]
    (folder / "log.json").write_text("".join(json.dumps(step) + "\n" for step in [*steps, dict(mIoU=1.0, step=6)]))
    return dict(made, ade=str(folder / "ade.py"), folder=str(folder))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_tools_answer(row: Row, places: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    """In the order of the rows: later tools take what earlier ones wrote."""
    monkeypatch.chdir(places["folder"])
    monkeypatch.setenv("MPLBACKEND", "Agg")
    for kind in (Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()  # the next tool would get the visualizer of the last, and its folder
    words = ["run", *row.words.format(**places).split()]
    if row.broken and not (row.mended and FORKS):
        with pytest.raises(BaseException, match=row.broken):
            main(words)
        return
    assert main(words) == 0
    said = capfd.readouterr()
    assert row.says in said.out + said.err
    for name in row.writes:
        path = Path(name)
        assert path.stat().st_size > 0
        assert path.is_file() or any(path.iterdir())


def test_tools_are_listed_and_found(capsys: pytest.CaptureFixture) -> None:
    for toolkit in ("mmdet", "mmseg"):
        assert main(["run", toolkit]) == 0
        listed = capsys.readouterr().out.splitlines()
        assert len(listed) == len(tools(toolkit)) > 20
        assert any(line.startswith("analysis_tools/confusion_matrix  ") for line in listed)
    assert main(["run", "mmdet", "confusion_matri"]) == 2
    assert "did you mean confusion_matrix" in capsys.readouterr().err
    assert main(["run", "mmseg", "browse_dataset"]) == 2
    assert "analysis_tools/browse_dataset and misc/browse_dataset" in capsys.readouterr().err
    assert main(["run", "mmdet", "demo/image_demo.py"]) == 2
    assert "use python -m mmvit predict" in capsys.readouterr().err
    assert main(["run", "mmpose"]) == 2

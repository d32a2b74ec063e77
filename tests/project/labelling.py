"""Small folders as labelling tools write them, after the tools' documentation: the same three pictures and objects in each."""

import base64
import json
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from PIL import Image

SIZE = (64, 48)
PICTURES = ("a b.jpg", "Über 鸟.png", "c.jpg")
BOXES = {"a b": [("cat", (8, 8, 24, 16))], "Über 鸟": [("dog & co", (4, 4, 40, 40)), ("cat", (30, 20, 10, 12))], "c": []}
CLASSES = ("cat", "dog & co")


def picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def pictures(folder: Path) -> None:
    for seed, name in enumerate(PICTURES):
        picture(folder / name, seed)


def filled(box: tuple[int, int, int, int]) -> np.ndarray:
    """A mask of a picture, 255 within the box."""
    x, y, width, height = box
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[y : y + height, x : x + width] = 255
    return mask


def save_mask(path: Path, box: tuple[int, int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(filled(box)).save(path)


def corners(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    x, y, width, height = box
    return x, y, x + width, y + height


def ring(box: tuple[int, int, int, int]) -> list[list[int]]:
    """The corners of a box, as points of a polygon."""
    x1, y1, x2, y2 = corners(box)
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def flat(points: list[list[int]]) -> list[int]:
    return [value for point in points for value in point]


def coco_content(prefix: str = "", names: tuple[str, ...] = CLASSES, polygons: bool = True) -> dict:
    images, annotations = [], []
    for number, name in enumerate(PICTURES):
        images.append(dict(id=number, file_name=prefix + name, width=SIZE[0], height=SIZE[1]))
        for label, box in BOXES[Path(name).stem]:
            shape = [flat(ring(box))] if polygons else []
            entry = dict(id=len(annotations) + 1, image_id=number, category_id=1 + names.index(label), bbox=list(box))
            annotations.append(dict(entry, area=box[2] * box[3], iscrowd=0, segmentation=shape))
    categories = [dict(id=1 + number, name=name) for number, name in enumerate(names)]
    return dict(images=images, annotations=annotations, categories=categories)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def coco_splits(root: Path, second: str = "valid", content: dict | None = None) -> None:
    """The same pictures and objects in two splits: one file a split, in the folder of its pictures, as Roboflow writes them."""
    for split in ("train", second):
        pictures(root / split)
        write_json(root / split / "_annotations.coco.json", content or coco_content())


def cvat_coco(root: Path) -> None:
    pictures(root / "images" / "default")
    write_json(root / "annotations" / "instances_default.json", coco_content())


def label_studio_coco(root: Path) -> None:
    pictures(root / "images")
    write_json(root / "result.json", coco_content("images\\"))


def roboflow_coco(root: Path) -> None:
    """Category 0 is the heading of all others."""
    content = coco_content()
    for entry in content["categories"]:
        entry["supercategory"] = "animals"
    content["categories"].insert(0, dict(id=0, name="animals", supercategory="none"))
    coco_splits(root, content=content)


def voc(root: Path) -> None:
    pictures(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for name in PICTURES:
        objects = "".join(
            f"<object><name>{escape(label)}</name><difficult>0</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for label, box in BOXES[Path(name).stem]
            for x1, y1, x2, y2 in [corners(box)]
        )
        text = (
            f"<annotation><folder>old</folder><filename>{name}</filename><path>C:\\old\\{name}</path>"
            f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>{objects}</annotation>"
        )
        (root / "Annotations" / f"{Path(name).stem}.xml").write_text(text, encoding="utf-8")


def labelme_xml(root: Path, kind: str = "bounding_box") -> None:
    """The older LabelMe's, CVAT's "LabelMe 3.0": all shapes are polygons, and those that were deleted stay in the file."""
    pictures(root / "default")
    for name in PICTURES:
        objects = "<object><name>old</name><deleted>1</deleted><polygon/></object>"
        for label, box in BOXES[Path(name).stem]:
            points = "".join(f"<pt><x>{x}.00</x><y>{y}.00</y></pt>" for x, y in ring(box))
            shape = f"<type>{kind}</type><polygon>{points}<username/></polygon>"
            objects += f"<object><name>{escape(label)}</name><deleted>0</deleted>{shape}</object>"
        size = f"<imagesize><nrows>{SIZE[1]}</nrows><ncols>{SIZE[0]}</ncols></imagesize>"
        text = f"<annotation><filename>{name}</filename><folder></folder>{size}{objects}</annotation>"
        (root / "default" / f"{Path(name).stem}.xml").write_text(text, encoding="utf-8")


def yolo_line(label: str, box: tuple[int, int, int, int], polygon: bool) -> str:
    values = [value / SIZE[index % 2] for index, value in enumerate(flat(ring(box)))]
    if not polygon:
        x, y, width, height = box
        values = [(x + width / 2) / SIZE[0], (y + height / 2) / SIZE[1], width / SIZE[0], height / SIZE[1]]
    return " ".join([str(CLASSES.index(label)), *(f"{value:.6f}" for value in values)])


def yolo(root: Path, polygon: bool = False) -> None:
    pictures(root / "images" / "train")
    (root / "labels" / "train").mkdir(parents=True)
    for stem, objects in BOXES.items():
        lines = [yolo_line(label, box, polygon) for label, box in objects]
        (root / "labels" / "train" / f"{stem}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text(
        "path: /home/somebody/datasets/x\ntrain: ../images/train\nnames:\n  0: cat\n  1: 'dog & co'\n", encoding="utf-8"
    )


def yolo_beside(root: Path) -> None:
    """LabelImg's: text files beside the pictures, and classes.txt."""
    pictures(root)
    for stem, objects in BOXES.items():
        (root / f"{stem}.txt").write_text("\n".join(yolo_line(label, box, False) for label, box in objects))
    (root / "classes.txt").write_text("cat\ndog & co\n")


def labelme(root: Path, kind: str = "polygon") -> None:
    pictures(root / "sub folder")
    for name in PICTURES:
        shapes = []
        for label, box in BOXES[Path(name).stem]:
            x1, y1, x2, y2 = corners(box)
            shape = dict(label=label, points=ring(box), group_id=None, shape_type=kind, flags={})
            if kind != "polygon":
                shape["points"] = [[x2, y2], [x1, y1]] if kind == "rectangle" else [[x1, y1], [x2, y2]]
            if kind == "mask":
                stream = BytesIO()
                Image.fromarray(np.full((box[3], box[2]), 255, np.uint8)).save(stream, "PNG")
                shape["mask"] = base64.b64encode(stream.getvalue()).decode()
            shapes.append(shape)
        content = dict(version="5.4.1", flags={}, shapes=shapes, imagePath=f"..\\elsewhere\\{name}", imageData=None)
        content.update(imageWidth=SIZE[0], imageHeight=SIZE[1])
        write_json(root / "sub folder" / f"{Path(name).stem}.json", content)


def cvat(root: Path, kind: str = "box") -> None:
    pictures(root / "images")
    entries = []
    for number, name in enumerate(PICTURES):
        shapes = []
        for label, box in BOXES[Path(name).stem]:
            x1, y1, x2, y2 = corners(box)
            shape = f'<box label={quoteattr(label)} occluded="0" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"/>'
            if kind == "polygon":
                points = ";".join(f"{x}.0,{y}.0" for x, y in ring(box))
                shape = f'<polygon label={quoteattr(label)} points="{points}"/>'
            if kind == "mask":
                edges = f'left="{x1}" top="{y1}" width="{box[2]}" height="{box[3]}"'
                shape = f'<mask label={quoteattr(label)} rle="0, {box[2] * box[3]}" {edges}/>'
            shapes.append(shape)
        entries.append(f'<image id="{number}" name="{name}" width="64" height="48">{"".join(shapes)}</image>')
    labels = "".join(f"<label><name>{escape(name)}</name></label>" for name in CLASSES)
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    text = f"<annotations><version>1.1</version>{meta}{''.join(entries)}</annotations>"
    (root / "annotations.xml").write_text(text, encoding="utf-8")


def stroke(mask: np.ndarray) -> list[int]:
    """A mask as Label Studio's brush writes it: values of four channels, runs of at most 256 of one value."""
    values = np.repeat(mask.reshape(-1, 1), 4, 1).ravel()
    bits = [f"{len(values):032b}", f"{7:05b}", *[f"{7:04b}"] * 4]
    start = 0
    while start < len(values):
        stop = start
        while stop < len(values) and stop - start < 256 and values[stop] == values[start]:
            stop += 1
        bits += ["1", "00", f"{stop - start - 1:08b}", f"{values[start]:08b}"]
        start = stop
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[index : index + 8], 2) for index in range(0, len(text), 8)]


def label_studio(root: Path, kind: str = "rectangle") -> None:
    pictures(root / "images")
    tasks = []
    for number, name in enumerate(PICTURES):
        results = []
        for label, box in BOXES[Path(name).stem]:
            across, down = 100 / SIZE[0], 100 / SIZE[1]
            value: dict = dict(x=box[0] * across, y=box[1] * down, width=box[2] * across, height=box[3] * down, rotation=0)
            if kind == "polygon":
                value = dict(points=[[x * across, y * down] for x, y in ring(box)])
            if kind == "brush":
                value = dict(format="rle", rle=stroke(filled(box)))
            value[f"{kind}labels"] = [label]
            results.append(dict(type=f"{kind}labels", original_width=64, original_height=48, value=value))
        address = f"/data/upload/1/0a1b2c3d-{name}"
        annotation = dict(result=results, was_cancelled=False)
        tasks.append(dict(id=number, data=dict(image=address), annotations=[annotation], predictions=[]))
    write_json(root / "project-1.json", tasks)


def label_studio_min(root: Path) -> None:
    label_studio(root)
    tasks = json.loads((root / "project-1.json").read_text())
    short = [dict(image=task["data"]["image"], id=task["id"], annotator=1) for task in tasks]
    for entry, task in zip(short, tasks, strict=True):
        entry["label"] = [result["value"] for result in task["annotations"][0]["result"]]
    write_json(root / "project-1.json", short)


def object_masks(root: Path) -> None:
    """pycococreator's: PICTURE_CLASS_NUMBER.png."""
    pictures(root / "images")
    for stem, objects in BOXES.items():
        for number, (label, box) in enumerate(objects):
            save_mask(root / "annotations" / f"{stem}_{label.split()[0]}_{number}.png", box)


TOOLS: dict[str, Callable[[Path], None]] = {
    "cvat_coco": cvat_coco,
    "label_studio_coco": label_studio_coco,
    "roboflow_coco": roboflow_coco,
    "voc": voc,
    "old_xml": labelme_xml,
    "old_xml_polygons": partial(labelme_xml, kind="polygon"),
    "yolo": yolo,
    "yolo_polygons": partial(yolo, polygon=True),
    "yolo_beside": yolo_beside,
    "labelme": labelme,
    "labelme_rectangles": partial(labelme, kind="rectangle"),
    "labelme_masks": partial(labelme, kind="mask"),
    "cvat": cvat,
    "cvat_polygons": partial(cvat, kind="polygon"),
    "cvat_masks": partial(cvat, kind="mask"),
    "label_studio": label_studio,
    "label_studio_polygons": partial(label_studio, kind="polygon"),
    "label_studio_brush": partial(label_studio, kind="brush"),
    "label_studio_min": label_studio_min,
}


def label_maps(root: Path, mode: str, values: tuple[int, ...] = (0, 1, 2), count: int = 4) -> None:
    """Pictures and maps with three bands: index or palette PNG, or colours with a list of them."""
    colours = [(0, 0, 0), (200, 10, 10), (10, 200, 10)]
    for number in range(count):
        picture(root / "images" / f"p {number}.jpg", number)
        bands = np.zeros(SIZE[::-1], np.uint8)
        for band, value in enumerate(values):
            bands[band * 16 : band * 16 + 16] = value
        (root / "masks").mkdir(exist_ok=True)
        path = root / "masks" / f"p {number}.png"
        image = Image.fromarray(np.array(colours, np.uint8)[bands] if mode == "RGB" else bands)
        if mode == "P":
            image.putpalette([part for colour in colours for part in colour])
        image.save(path)
    if mode == "RGB":
        (root / "class_dict.csv").write_text("name,r,g,b\nsky,0,0,0\nroof,200,10,10\nlawn,10,200,10\n")


def black_and_white(root: Path) -> None:
    """Masks of 0 and 255."""
    label_maps(root, "L", (0, 255, 0))

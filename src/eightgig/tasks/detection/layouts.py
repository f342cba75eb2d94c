"""Which annotation format a folder is in, and its images and boxes read from it."""

from pathlib import Path

from eightgig.core.errors import DataError
from eightgig.data.ingest.split_names import split_of
from eightgig.tasks.detection.annotated import DetectionFolder, Format
from eightgig.tasks.detection.coco_format import read_coco
from eightgig.tasks.detection.coco_json import looks_like_coco
from eightgig.tasks.detection.listing import Listing, list_files
from eightgig.tasks.detection.voc_format import read_voc
from eightgig.tasks.detection.voc_xml import looks_like_voc
from eightgig.tasks.detection.yolo_format import is_classes_file, is_label, read_yolo
from eightgig.tasks.detection.yolo_lines import LineForm
from eightgig.tasks.detection.yolo_yaml import load_mapping

LAYOUT = """Wanted is one of:
  YOLO  {root}/data.yaml with 'train' and 'names'; images/one.jpg and labels/one.txt
  VOC   {root}/Annotations/one.xml; JPEGImages/one.jpg
  COCO  {root}/annotations/instances_train.json; images/one.jpg"""
_YAML_ENDINGS = (".yaml", ".yml")
_LOOKED_INTO = 16  # XML files: one set holds one kind, and the first of them show which


def scan_detection_folder(
    root: Path, source: str = "auto", annotations: str | None = None, label_lines: LineForm | None = None
) -> DetectionFolder:
    """Return the images and boxes below `root`; no image is opened.

    Args:
        root: the folder of images and labels.
        source: `yolo`, `voc`, `coco`, or `auto` to find out.
        annotations: file or folder of the labels, relative to `root` or absolute, where it is not found by itself.
        label_lines: what the lines of YOLO's labels are; None leaves it to data.yaml.

    Raises:
        DataError: there is no such folder, it is in no known format or in several, or its labels cannot be read.
    """
    listing = list_files(root)
    labels = _labels(listing, annotations)
    found = source if source != "auto" else _find_format(listing, labels)
    if found == "yolo":
        return read_yolo(listing, labels or _data_yaml(listing), label_lines)
    if found == "voc":
        return read_voc(listing, labels)
    return read_coco(listing, [labels]) if labels else read_coco(listing, *_coco_files(listing))


def find_format(root: Path, annotations: str | None = None) -> Format:
    """Return the format of a folder, by the names of its files.

    Raises:
        DataError: there is no such folder, or it is in no known format or in several.
    """
    listing = list_files(root)
    return _find_format(listing, _labels(listing, annotations))


def _labels(listing: Listing, annotations: str | None) -> Path | None:
    if annotations is None:
        return None
    path = listing.root / Path(annotations).expanduser()
    inside = listing.relative(path)
    if not path.exists() and inside:
        same = listing.same_file(inside) or listing.same_folder(inside)
        path = listing.root / same[0] if len(same) == 1 else path
    if not path.exists():
        raise DataError(
            f"{path}: there are no labels. Set data.annotations to a file or folder, relative to data.root."
        )
    return path


def _find_format(listing: Listing, labels: Path | None) -> Format:
    if labels:
        return "voc" if labels.is_dir() else "yolo" if labels.suffix.lower() in _YAML_ENDINGS else "coco"
    found = _formats(listing)
    if not found:
        layout = LAYOUT.format(root=listing.root)
        raise DataError(
            f"{listing.root}: {len(listing.images)} images, but no labels with boxes{_foreign(listing)}. {layout}"
        )
    if len(found) > 1:
        raise DataError(f"{listing.root}: labels in {len(found)} formats: {', '.join(found)}. Set data.source to one.")
    return found[0]


def _formats(listing: Listing) -> list[Format]:
    """Sure signs first; a JSON of any name, or labels without data.yaml, count only where there are none.

    A file counts by what is in it: Label Studio lays a notes.json beside YOLO's labels, and IDEs and CVAT write XML.
    """
    found: list[Format] = []
    if _data_yaml(listing):
        found.append("yolo")
    if _has_voc(listing):
        found.append("voc")
    if _named_coco_files(listing):
        found.append("coco")
    if not found and _coco_files(listing)[0]:
        found.append("coco")
    if not found and any(is_label(file) or is_classes_file(file) for file in listing.files):
        found.append("yolo")
    return found


def _has_voc(listing: Listing) -> bool:
    files = [file for file in listing.files if file.lower().endswith(".xml")]
    return any(looks_like_voc(listing.root / file) for file in files[:_LOOKED_INTO])


def _foreign(listing: Listing) -> str:
    """Name the files that could have been labels."""
    files = [file for file in listing.files if file.lower().endswith((".json", ".xml"))]
    if not files:
        return ""
    return f" ({files[0]} is neither COCO's JSON, with images, annotations and categories, nor VOC's XML)"


def _data_yaml(listing: Listing) -> Path | None:
    """Return data.yaml, or the one YAML file directly in the root that has names."""
    files = [file for file in listing.files if "/" not in file and file.lower().endswith(_YAML_ENDINGS)]
    for file in files:
        if file.lower() in ("data.yaml", "data.yml"):
            return listing.root / file
    named = [listing.root / file for file in files if _has_names(listing.root / file)]
    if len(named) > 1:
        names = ", ".join(path.name for path in named)
        raise DataError(f"{listing.root}: several files could be its data.yaml: {names}. Set data.annotations to one.")
    return named[0] if named else None


def _has_names(path: Path) -> bool:
    try:
        return "names" in load_mapping(path)
    except DataError:
        return False


def _coco_files(listing: Listing) -> tuple[list[Path], list[str]]:
    """Return COCO's JSON files, and those that look like it too but are left out beside files named as COCO's."""
    jsons = [file for file in listing.files if file.lower().endswith(".json")]
    named = _named_coco_files(listing)
    others = [
        file
        for file in jsons
        if listing.root / file not in named and _is_near(file) and looks_like_coco(listing.root / file)
    ]
    return (named, others) if named else ([listing.root / file for file in others], [])


def _named_coco_files(listing: Listing) -> list[Path]:
    """Return the JSON files named as COCO's, or as Roboflow's in each split's folder."""
    jsons = [file for file in listing.files if file.lower().endswith(".json")]
    instances = [file for file in jsons if Path(file).name.lower().startswith("instances_") and _is_near(file)]
    roboflow = [file for file in jsons if file.lower().endswith("_annotations.coco.json")]
    return [listing.root / file for file in instances or roboflow]


def _is_near(file: str) -> bool:
    """Tell whether a file lies in the root, in a folder of annotations, or in a split's."""
    return all(folder.lower() in ("annotations", "labels") or split_of(folder) for folder in file.split("/")[:-1])

"""YOLO's format: a data.yaml, folders of images, and beside each `images` folder one `labels` with a text an image.

What a line of a label means: `yolo_lines`.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.core.names import all_quoted, composed
from eightgig.data.ingest.findings import Finding
from eightgig.data.ingest.split_names import split_above
from eightgig.tasks.detection.annotated import (
    AnnotatedImage,
    DetectionFolder,
    RawBox,
    in_two_splits,
    require_names,
    without_split,
)
from eightgig.tasks.detection.listing import Listing
from eightgig.tasks.detection.reading import numbered_lines, read_label_text
from eightgig.tasks.detection.yolo_lines import Line, LineForm, LineRules, box_of, find_form, parse_line
from eightgig.tasks.detection.yolo_yaml import DataYaml, Listed, read_data_yaml

CLASSES_FILES = ("classes.txt", "obj.names", "_darknet.labels")
"""Of Label Studio and labelImg, of CVAT, and of Roboflow."""
_FORM_NOTES: dict[LineForm, str] = {
    "polygons": "boxes around polygons",
    "oriented": "boxes around oriented boxes",
    "keypoints": "boxes of objects with keypoints",
}
_TOLD: dict[LineForm, tuple[str, str]] = {
    "polygons": ("polygons", "lines hold polygons: the boxes around them are taken"),
    "oriented": ("oriented_boxes", "lines hold oriented boxes: the upright boxes around them are taken"),
    "keypoints": ("keypoints", "lines hold keypoints: their boxes are taken, the keypoints are left out"),
}


@dataclass(frozen=True)
class _Label:
    """An image and the lines of its label, which are no boxes yet.

    Attributes:
        image: what is known without the boxes.
        lines: that can be understood.
    """

    image: AnnotatedImage
    lines: tuple[Line, ...] = ()


def read_yolo(listing: Listing, data_yaml: Path | None, form: LineForm | None = None) -> DetectionFolder:
    """Return the images and boxes that `data_yaml` names; without one, those of the whole folder.

    A folder without data.yaml has the names of its classes in `classes.txt`, one a line.

    Args:
        listing: all files.
        data_yaml: the file, if there is one.
        form: what the user says that the lines of the labels are; None leaves it to data.yaml.

    Raises:
        DataError: data.yaml or classes.txt is missing or cannot be understood, the images are not there, or nothing
            tells what the lines of the labels are.
    """
    told = read_data_yaml(listing, data_yaml) if data_yaml else _without_yaml(listing)
    rules = replace_form(told.rules, form)
    splits, doubles = _first_splits(told.listed)
    files_of = _own_labels({path: label_paths(listing, path) for path in listing.images})
    labels = [
        _read_label(listing.root, told.classes, path, files_of[path], splits[path], doubles[path])
        for path in sorted(splits)
    ]
    lines = [(label.image.file, line) for label in labels for line in label.lines]
    found = find_form(listing.root, rules, lines)
    images = tuple(_with_boxes(label, found, rules) for label in labels)
    findings = (
        *told.findings,
        *_told_of_form(found, lines, listing.shown(data_yaml) if data_yaml else ""),
        *_without_image(listing, files_of),
        *_shared(images),
        *_unlisted(files_of, splits),
        *without_split(images),
    )
    return DetectionFolder(listing.root, "yolo", told.classes, images, findings, in_shares=True)


def replace_form(rules: LineRules, form: LineForm | None) -> LineRules:
    """Return the rules with the user's word before data.yaml's."""
    return rules if form is None else LineRules(form, rules.keypoints if form == "keypoints" else None)


def label_paths(listing: Listing, image: str) -> list[str]:
    """Return the label files of `image`: none, one, or several of one name in different case.

    The last `images` in its path reads `labels`, or else it is beside the image; it is called as the image with
    .txt instead of the ending or after it. Case and Unicode's form do not matter.
    """
    *folders, name = image.split("/")
    places = [folders]
    at = next((place for place in reversed(range(len(folders))) if folders[place].lower() == "images"), None)
    if at is not None:
        places.insert(0, [*folders[:at], "labels", *folders[at + 1 :]])
    for place in places:
        for file in (f"{posixpath.splitext(name)[0]}.txt", f"{name}.txt"):
            if found := listing.same_file("/".join([*place, file])):
                return found
    return []


def _own_labels(files_of: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Take a label from images whose names are like its own but for case, where one has its very name."""
    owners = {file for path, files in files_of.items() for file in files if _is_named_as(file, path)}
    return {
        path: [file for file in files if file not in owners or _is_named_as(file, path)]
        for path, files in files_of.items()
    }


def _is_named_as(label: str, image: str) -> bool:
    name = composed(posixpath.basename(image))
    return posixpath.splitext(composed(posixpath.basename(label)))[0] in (name, posixpath.splitext(name)[0])


def _without_yaml(listing: Listing) -> DataYaml:
    listed = [Listed(path, split_above(path) or "", "", None) for path in _image_folder(listing)]
    return DataYaml(_read_classes(listing), listed, LineRules(), ())


def _read_classes(listing: Listing) -> tuple[str, ...]:
    found = sorted((f for f in listing.files if is_classes_file(f)), key=lambda f: (f.count("/"), f))
    if not found:
        raise DataError(
            f"{listing.root}: YOLO labels, but nothing names their classes. Write a data.yaml with 'train' and "
            "'names', or a classes.txt with one name a line."
        )
    path = listing.root / found[0]
    try:
        lines = numbered_lines(read_label_text(path))
    except ImageRejectedError as error:
        raise DataError(f"{path}: {error.detail}. Write one class name a line, in UTF-8.") from error
    if lines and lines[-1][0] != len(lines):
        blank = next(place for place, (line, _) in enumerate(lines, start=1) if line != place)
        raise DataError(f"{path}: line {blank} is blank, so the numbers of the classes after it are unsure. Remove it.")
    return require_names(str(path), [name for _, name in lines])


def is_classes_file(file: str) -> bool:
    """Tell whether a file names the classes of YOLO labels, one a line."""
    return posixpath.basename(file).lower() in CLASSES_FILES


def _image_folder(listing: Listing) -> tuple[str, ...]:
    return tuple(p for p in listing.images if "images" in p.lower().split("/")[:-1]) or listing.images


def _first_splits(listed: list[Listed]) -> tuple[dict[str, str], dict[str, tuple[Finding, ...]]]:
    """Return each image's first split, and findings where it is named for another one too."""
    splits: dict[str, str] = {}
    doubles: dict[str, tuple[Finding, ...]] = defaultdict(tuple)
    for each in listed:
        first = splits.setdefault(each.path, each.split)
        if first != each.split:
            doubles[each.path] += (in_two_splits(each.path, first, each.split, each.file, each.line),)
    return splits, doubles


def _read_label(
    root: Path, classes: tuple[str, ...], path: str, files: list[str], split: str, findings: tuple[Finding, ...]
) -> _Label:
    if len(files) != 1:
        return _Label(AnnotatedImage(path, "", (), split, (*findings, _no_label(path, files))))
    (file,) = files
    try:
        lines = numbered_lines(read_label_text(root / file))
    except ImageRejectedError as error:
        return _Label(
            AnnotatedImage(path, file, (), split, (Finding(path, error.reason, error.detail, "refused", file),))
        )
    if not lines:
        findings += (Finding(path, "empty_label", "no box in it; taken as background", "kept", file),)
    parsed, faults = _parse(path, file, lines, len(classes))
    return _Label(AnnotatedImage(path, file, (), split, findings + faults), parsed)


def _no_label(path: str, files: list[str]) -> Finding:
    if files:
        detail = f"{len(files)} labels could be meant: {all_quoted(files)}"
        return Finding(path, "ambiguous_label", detail, "refused", files[0])
    wanted = f"{posixpath.splitext(posixpath.basename(path))[0]}.txt"
    return Finding(path, "no_label", f"there is no {wanted} in labels or beside it; taken as background", "kept")


def _parse(
    path: str, file: str, lines: list[tuple[int, str]], num_classes: int
) -> tuple[tuple[Line, ...], tuple[Finding, ...]]:
    parsed, faults = [], []
    for number, text in lines:
        try:
            parsed.append(parse_line(text, num_classes, number))
        except ImageRejectedError as error:
            faults.append(Finding(path, error.reason, error.detail, "refused", file, number))
    return tuple(parsed), tuple(faults)


def _with_boxes(label: _Label, form: LineForm, rules: LineRules) -> AnnotatedImage:
    image = label.image
    boxes: list[RawBox] = []
    faults: list[Finding] = []
    for line in label.lines:
        try:
            boxes.append(box_of(line, form, rules.keypoints))
        except ImageRejectedError as error:
            faults.append(Finding(image.path, error.reason, error.detail, "refused", image.file, line.line))
    note = _FORM_NOTES.get(form, "") if any(line.values > 4 for line in label.lines) else ""
    return replace(image, boxes=tuple(boxes), findings=(*image.findings, *faults), note=note)


def _told_of_form(form: LineForm, lines: Iterable[tuple[str, Line]], file: str) -> Iterator[Finding]:
    many = sum(line.values > 4 for _, line in lines)
    if many and form in _TOLD:
        reason, detail = _TOLD[form]
        yield Finding("", reason, f"{many} {detail}", "kept", file)


def _without_image(listing: Listing, files_of: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Yield the labels of images that are not there."""
    expected = {file for files in files_of.values() for file in files}
    for file in listing.files:
        if is_label(file) and file not in expected:
            yield Finding("", "label_without_image", "there is no image of this name", "refused", file)


def is_label(file: str) -> bool:
    """Tell whether a file lies where YOLO's labels do, and is called like one."""
    is_text = file.lower().endswith(".txt") and not is_classes_file(file)
    return is_text and "labels" in file.lower().split("/")[:-1]


def _shared(images: Iterable[AnnotatedImage]) -> Iterator[Finding]:
    """Yield the images (a.jpg and a.png) that have one label file together."""
    listed = [image for image in images if image.file]
    counts = Counter(image.file for image in listed)
    for image in listed:
        if counts[image.file] > 1:
            detail = f"{counts[image.file]} images have this one label file; each is given its boxes"
            yield Finding(image.path, "shared_label", detail, "kept", image.file)


def _unlisted(files_of: Mapping[str, list[str]], splits: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the folders of images with labels that data.yaml names for no split."""
    left_out = Counter(posixpath.dirname(path) for path, files in files_of.items() if files and path not in splits)
    for folder, count in sorted(left_out.items()):
        detail = f"{count} images with labels in '{folder or '.'}' are in no split that is named; left out"
        yield Finding("", "not_listed", detail, "kept", folder)

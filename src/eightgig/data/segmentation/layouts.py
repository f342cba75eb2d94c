"""Where pictures and their masks lie: Cityscapes' folders, or a folder of pictures beside one of masks."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from eightgig.core.errors import DataError
from eightgig.data.folders import PICTURE_ENDINGS, split_of
from eightgig.data.segmentation.class_table import CITYSCAPES_IDS, KNOWN_TABLES, ClassTable, find_table

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "photos", "rgb", "camerargb")
MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "gt", "groundtruth",
    "cameraseg",
)  # fmt: skip
MASK_SUFFIXES = ("", "_mask", "_masks", "_L", "_label", "_labels", "_seg", "_gt", "-mask", "_labelIds")
_LAYOUT = """Wanted is one of
  {root}/images/a.jpg   and {root}/masks/a.png          (also in train, val and test below or above these)
  {root}/train/a.png    and {root}/trainannot/a.png     (CamVid as SegNet has it)
  {root}/leftImg8bit/train/CITY/a_leftImg8bit.png and {root}/gtFine/train/CITY/a_gtFine_labelTrainIds.png"""


class MaskedPicture(NamedTuple):
    """A picture and its mask, relative to the root with forward slashes, and its ready-made split or an empty text."""

    path: str
    mask_path: str
    split: str


class Finding(NamedTuple):
    """Something that is not as it should be: `refused` pictures are not used, `kept` ones are."""

    path: str
    reason: str
    detail: str
    action: str = "refused"


@dataclass(frozen=True)
class MaskFolder:
    """Pictures with masks, not yet opened.

    Attributes:
        root: the folder that paths are relative to.
        source: `cityscapes` or `folders`.
        table: what the masks' labels mean.
        pictures: in alphabetical order.
        findings: pictures without a mask, and masks without a picture.
    """

    root: Path
    source: str
    table: ClassTable
    pictures: tuple[MaskedPicture, ...]
    findings: tuple[Finding, ...]


def scan_mask_folder(root: Path, source: str = "auto", class_table: str | None = None) -> MaskFolder:
    """Give the pictures and masks below `root`.

    Raises:
        DataError: there is no such folder, its layout is another one, it holds no pair, or no table of classes.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder. Set data.root to the folder that holds pictures and masks.")
    found = find_layout(root) if source == "auto" else source
    pictures, findings = _cityscapes(root) if found == "cityscapes" else _folders(root)
    if not pictures:
        raise DataError(
            f"{root}: not one picture with a mask. {len(findings)} files have no partner"
            + (f", such as {findings[0].path}" if findings else "")
            + f". {_LAYOUT.format(root=root)}"
        )
    table = _cityscapes_table(pictures) if found == "cityscapes" and not class_table else find_table(root, class_table)
    return MaskFolder(root, found, table, tuple(sorted(pictures)), tuple(sorted(findings)))


def find_layout(root: Path) -> str:
    """Tell `cityscapes` from `folders`.

    Raises:
        DataError: it is neither.
    """
    if (root / "leftImg8bit").is_dir():
        return "cityscapes"
    if next(_pairs_of_folders(root), None):
        return "folders"
    raise DataError(f"{root}: no folder of pictures with one of masks beside it. {_LAYOUT.format(root=root)}")


def _cityscapes(root: Path) -> tuple[list[MaskedPicture], list[Finding]]:
    """Give train and val; the masks of the public test split hold nothing."""
    if not (root / "gtFine").is_dir():
        raise DataError(f"{root}: leftImg8bit is there, but no gtFine. Unpack gtFine_trainvaltest.zip there too.")
    pictures, findings = [], []
    for path in _files(root / "leftImg8bit"):
        split, _, name = path.relative_to(root / "leftImg8bit").as_posix().partition("/")
        if split == "test" or not name.endswith("_leftImg8bit.png"):
            continue
        stem = f"gtFine/{split}/{name.removesuffix('leftImg8bit.png')}gtFine_"
        masks = [f"{stem}{kind}.png" for kind in ("labelTrainIds", "labelIds")]
        mask = next((each for each in masks if (root / each).is_file()), None)
        relative = path.relative_to(root).as_posix()
        if mask:
            pictures.append(MaskedPicture(relative, mask, split_of(split)))
        else:
            findings.append(Finding(relative, "missing_mask", f"{masks[0]} is not there"))
    return pictures, findings


def _cityscapes_table(pictures: Sequence[MaskedPicture]) -> ClassTable:
    kinds = {each.mask_path.rpartition("_")[2] for each in pictures}
    if len(kinds) > 1:
        raise DataError(
            "gtFine holds labelTrainIds for some pictures and labelIds alone for others. Make the missing "
            "labelTrainIds (cityscapesscripts: csCreateTrainIdLabelImgs), or remove them all."
        )
    return KNOWN_TABLES["cityscapes"] if kinds == {"labelTrainIds.png"} else CITYSCAPES_IDS


def _folders(root: Path) -> tuple[list[MaskedPicture], list[Finding]]:
    pictures: list[MaskedPicture] = []
    findings: list[Finding] = []
    for image_folder, mask_folder, split in _pairs_of_folders(root):
        paired, lonely = _paired(root, image_folder, mask_folder, split)
        pictures += paired
        findings += lonely
    return pictures, findings


def _pairs_of_folders(root: Path) -> Iterator[tuple[Path, Path, str]]:
    """Yield (folder of pictures, folder of masks, split) for the layouts that are there."""
    splits = [(root, ""), *((path, split_of(path.name)) for path in _subfolders(root) if split_of(path.name))]
    for above, split in splits:
        by_name = {path.name.lower(): path for path in _subfolders(above)}
        images = next((by_name[name] for name in IMAGE_FOLDERS if name in by_name), None)
        masks = next((by_name[name] for name in MASK_FOLDERS if name in by_name), None)
        if images and masks:
            yield images, masks, split
        elif split:
            yield from ((above, beside, split) for beside in _masks_beside(above))


def _masks_beside(split_folder: Path) -> list[Path]:
    candidates = [split_folder.with_name(f"{split_folder.name}{end}") for end in ("annot", "_labels", "_masks")]
    return [folder for folder in candidates if folder.is_dir()][:1]


def _paired(root: Path, images: Path, masks: Path, split: str) -> tuple[list[MaskedPicture], list[Finding]]:
    by_stem: dict[str, Path] = {}
    for path in _files(masks):
        by_stem.setdefault(path.relative_to(masks).with_suffix("").as_posix(), path)
    pictures, findings, used = [], [], set()
    for image in _files(images):
        inner = image.relative_to(images)
        stem = inner.with_suffix("").as_posix()
        mask = next((by_stem[stem + suffix] for suffix in MASK_SUFFIXES if stem + suffix in by_stem), None)
        name = image.relative_to(root).as_posix()
        if mask is None:
            findings.append(Finding(name, "missing_mask", f"no {stem}.png in {masks.relative_to(root).as_posix()}"))
            continue
        used.add(mask)
        own_split = split or (split_of(inner.parts[0]) if len(inner.parts) > 1 else "")
        pictures.append(MaskedPicture(name, mask.relative_to(root).as_posix(), own_split))
    for lonely in sorted(set(by_stem.values()) - used):
        findings.append(Finding(lonely.relative_to(root).as_posix(), "mask_without_picture", "no picture has its name"))
    return pictures, findings


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """Yield pictures at any depth; links to folders are not followed."""
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(names):
            path = Path(above, name)
            if not name.startswith(".") and path.suffix.lower() in PICTURE_ENDINGS:
                yield path

"""Where images and their masks lie: Cityscapes' folders, or a folder of images beside one of masks."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from eightgig.core.errors import DataError
from eightgig.core.names import all_quoted, composed, name_key, quoted
from eightgig.data.ingest.class_table import CITYSCAPES_IDS, KNOWN_TABLES, ClassTable, find_table
from eightgig.data.ingest.findings import Finding
from eightgig.data.ingest.split_names import Split, split_of
from eightgig.data.ingest.walking import as_written, folders_in, has_images, is_image, is_passed_over

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "photos", "rgb", "camerargb")
MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "gt", "groundtruth",
    "cameraseg",
)  # fmt: skip
# What stands between a split's name and its masks' folder: train and trainannot, train_images and train_masks.
_MASKS_OF_SPLITS = ("annot", "label", "labels", "mask", "masks", "gt")
MASK_SUFFIXES = ("", "_mask", "_masks", "_L", "_label", "_labels", "_seg", "_gt", "-mask", "_labelIds")
_LAYOUT = """Wanted is one of
  {root}/images/a.jpg   and {root}/masks/a.png          (also in train, val and test below or above these)
  {root}/train/a.png    and {root}/trainannot/a.png     (CamVid as SegNet has it)
  {root}/leftImg8bit/train/CITY/a_leftImg8bit.png and {root}/gtFine/train/CITY/a_gtFine_labelTrainIds.png"""


class MaskedImage(NamedTuple):
    """An image and its mask, relative to the root with forward slashes, and its ready-made split or an empty text."""

    path: str
    mask_path: str
    split: str


@dataclass(frozen=True)
class MaskFolder:
    """Images with masks, not yet opened.

    Attributes:
        root: the folder that paths are relative to.
        source: `cityscapes` or `folders`.
        table: what the masks' labels mean.
        images: in alphabetical order.
        findings: images without a mask, and masks without an image.
    """

    root: Path
    source: str
    table: ClassTable
    images: tuple[MaskedImage, ...]
    findings: tuple[Finding, ...]


def scan_mask_folder(root: Path, source: str = "auto", class_table: str | None = None) -> MaskFolder:
    """Return the images and masks below `root`.

    Raises:
        DataError: there is no such folder, its layout is another one, it holds no pair, or no table of classes.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder. Set data.root to the folder that holds images and masks.")
    found = find_layout(root) if source == "auto" else source
    images, findings = _cityscapes(root) if found == "cityscapes" else _folders(root)
    if not images:
        raise DataError(
            f"{root}: not one image with a mask. {len(findings)} files have no partner"
            + (f", such as {findings[0].path}" if findings else "")
            + f". {_LAYOUT.format(root=root)}"
        )
    table = _cityscapes_table(images) if found == "cityscapes" and not class_table else find_table(root, class_table)
    return MaskFolder(root, found, table, tuple(sorted(images)), tuple(sorted(findings)))


def find_layout(root: Path) -> str:
    """Tell `cityscapes` from `folders`.

    Raises:
        DataError: it is neither.
    """
    if _named(root, "leftimg8bit"):
        return "cityscapes"
    if _pairs_of_folders(root):
        return "folders"
    raise DataError(f"{root}: no folder of images with one of masks beside it. {_LAYOUT.format(root=root)}")


def _named(folder: Path, *names: str) -> list[Path]:
    """Return the folders in `folder` that are called so, in any case, in the order of `names`."""
    inside = folders_in(folder)
    return [path for name in names for path in inside if name_key(path.name) == name]


def _cityscapes(root: Path) -> tuple[list[MaskedImage], list[Finding]]:
    """Return train and val; the masks of the public test split hold nothing."""
    image_roots, targets = _named(root, "leftimg8bit"), _named(root, "gtfine")
    if not image_roots:
        raise DataError(
            f"{root}: wanted Cityscapes' leftImg8bit, found none. Unpack leftImg8bit_trainvaltest.zip there."
        )
    if not targets:
        raise DataError(f"{root}: leftImg8bit is there, but no gtFine. Unpack gtFine_trainvaltest.zip there too.")
    images, findings = [], []
    for path in _files(image_roots[0]):
        split, _, name = path.relative_to(image_roots[0]).as_posix().partition("/")
        if split == "test" or not name.endswith("_leftImg8bit.png"):
            continue
        stem = f"{targets[0].name}/{split}/{name.removesuffix('leftImg8bit.png')}gtFine_"
        masks = [f"{stem}{kind}.png" for kind in ("labelTrainIds", "labelIds")]
        mask = next((each for each in masks if (root / each).is_file()), None)
        relative = path.relative_to(root).as_posix()
        if mask:
            images.append(MaskedImage(relative, mask, split_of(split) or ""))
        else:
            findings.append(Finding(relative, "missing_mask", f"{masks[0]} is not there"))
    return images, findings


def _cityscapes_table(images: Sequence[MaskedImage]) -> ClassTable:
    kinds = {each.mask_path.rpartition("_")[2] for each in images}
    if len(kinds) > 1:
        raise DataError(
            "gtFine holds labelTrainIds for some images and labelIds alone for others. Make the missing "
            "labelTrainIds (cityscapesscripts: csCreateTrainIdLabelImgs), or remove them all."
        )
    return KNOWN_TABLES["cityscapes"] if kinds == {"labelTrainIds.png"} else CITYSCAPES_IDS


class _Pair(NamedTuple):
    """A folder of images, that of their masks, and the split that both are; empty where that is inside of them."""

    images: Path
    masks: Path
    split: Split | Literal[""]


def _folders(root: Path) -> tuple[list[MaskedImage], list[Finding]]:
    images: list[MaskedImage] = []
    pairs = _pairs_of_folders(root)
    findings = list(_not_used(root, pairs))
    for pair in pairs:
        paired, lonely = _paired(root, pair)
        images += paired
        findings += lonely
    if any(each.split for each in images):
        detail = "no ready-made split's folder holds it; it is taken for training"
        findings += [Finding(each.path, "no_split", detail, "kept") for each in images if not each.split]
    return images, findings


def _pairs_of_folders(root: Path) -> list[_Pair]:
    """Return the pairs for the layouts that are there: in the root, and in or beside the folder of each split."""
    pairs = []
    for above, split in ((root, None), *((path, split_of(path.name)) for path in folders_in(root))):
        images, masks = _named(above, *IMAGE_FOLDERS), _named(above, *MASK_FOLDERS)
        if above != root and not split:
            continue
        if images and masks:
            pairs.append(_Pair(images[0], masks[0], split or ""))
        elif split:
            pairs += [_Pair(above, beside, split) for beside in _masks_beside(above)]
    return pairs


def _masks_beside(split_folder: Path) -> list[Path]:
    """Return the folder of masks beside one of a split's images: the same name, and a word for masks with it."""
    stem = re.sub("[-_ ]*(images?|imgs?|pictures)$", "", name_key(split_folder.name))
    wanted = [f"{stem}{between}{word}" for between in ("", "_", "-", " ") for word in _MASKS_OF_SPLITS]
    return _named(split_folder.parent, *wanted)[:1]


def _not_used(root: Path, pairs: Sequence[_Pair]) -> Iterator[Finding]:
    """Yield the folders that look like a part of the set, but are none of it."""
    used = {folder for pair in pairs for folder in (pair.images, pair.masks)}
    above = {pair.images.parent for pair in pairs if pair.images.parent != root}
    for pair in pairs:
        for other in _named(pair.images.parent, *IMAGE_FOLDERS, *MASK_FOLDERS):
            if other not in used and has_images(other):
                detail = f"{all_quoted((pair.images.name, pair.masks.name))} are taken; this one is left out"
                yield Finding(other.relative_to(root).as_posix(), "not_used", detail, "kept")
    for folder in folders_in(root):
        if folder in used | above or not (split_of(folder.name) or _holds_a_pair(folder)) or not has_images(folder):
            continue
        detail = "no folder of masks belongs to it" if split_of(folder.name) else "its name is no split's"
        yield Finding(folder.name, "not_used", f"{detail}; left out", "kept")


def _holds_a_pair(folder: Path) -> bool:
    return bool(_named(folder, *IMAGE_FOLDERS) and _named(folder, *MASK_FOLDERS))


def _paired(root: Path, pair: _Pair) -> tuple[list[MaskedImage], list[Finding]]:
    masks = _Masks(pair.masks)
    images: list[MaskedImage] = []
    findings: list[Finding] = []
    found_of = {path: masks.of(path.relative_to(pair.images)) for path in _files(pair.images)}
    owned = {mask for path, found in found_of.items() for mask in found if _is_named_as(mask, path)}
    for path, of_any_case in found_of.items():
        inner, name = path.relative_to(pair.images), path.relative_to(root).as_posix()
        found = [mask for mask in of_any_case if mask not in owned or _is_named_as(mask, path)]
        if len(found) != 1:
            findings.append(_no_mask(name, inner, found, pair.masks.relative_to(root).as_posix()))
            continue
        own_split = pair.split or (split_of(inner.parts[0]) or "" if len(inner.parts) > 1 else "")
        images.append(MaskedImage(name, found[0].relative_to(root).as_posix(), own_split))
    for lonely in masks.unused():
        findings.append(Finding(lonely.relative_to(root).as_posix(), "mask_without_image", "no image has its name"))
    counts = Counter(each.mask_path for each in images)
    for each in images:
        if counts[each.mask_path] > 1:
            detail = f"{counts[each.mask_path]} images have the one mask {each.mask_path}; each is given it"
            findings.append(Finding(each.path, "shared_mask", detail, "kept"))
    return images, findings


def _is_named_as(mask: Path, image: Path) -> bool:
    """Tell whether a mask has its image's very name; one whose name is like it but for case has no right to it."""
    return composed(mask.name).startswith(composed(image.stem))


def _no_mask(name: str, inner: Path, found: Sequence[Path], masks: str) -> Finding:
    if found:
        detail = f"{len(found)} masks in {masks} could be meant: {all_quoted(path.name for path in found)}"
        return Finding(name, "ambiguous_mask", detail)
    wanted = inner.with_suffix(".png").as_posix()
    return Finding(name, "missing_mask", f"no {quoted(wanted)[1:-1]} in {masks}")


class _Masks:
    """The masks below a folder, for looking up by their images' names, in any case and either form of Unicode."""

    def __init__(self, folder: Path) -> None:
        self._by_key: dict[str, list[Path]] = defaultdict(list)
        self._stems: dict[Path, str] = {}
        self._used: set[Path] = set()
        for path in _files(folder):
            stem = path.relative_to(folder).with_suffix("").as_posix()
            self._by_key[name_key(stem)].append(path)
            self._stems[path] = stem

    def of(self, image: Path) -> list[Path]:
        """Return the masks that may be of `image`, relative to its folder: none, one, or several of one name."""
        for stem in (image.with_suffix("").as_posix(), image.as_posix()):
            for suffix in MASK_SUFFIXES:
                if found := self._by_key.get(name_key(stem + suffix)):
                    likest = set(as_written(stem + suffix, (self._stems[path] for path in found)))
                    masks = [path for path in found if self._stems[path] in likest]
                    self._used.update(masks)
                    return masks
        return []

    def unused(self) -> list[Path]:
        """Return the masks that no image was given, in alphabetical order."""
        return sorted(set(self._stems) - self._used)


def _files(folder: Path) -> Iterator[Path]:
    """Yield images at any depth; links to folders are not followed."""
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_passed_over(name))
        for name in sorted(names):
            path = Path(above, name)
            if is_image(path):
                yield path

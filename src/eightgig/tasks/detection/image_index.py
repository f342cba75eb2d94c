"""The images that a label may mean by a name.

People and tools write names as paths of other machines, as addresses, in any case and in either form of Unicode.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from eightgig.core.names import composed, name_key
from eightgig.data.ingest.split_names import split_above
from eightgig.data.ingest.walking import IMAGE_ENDINGS, as_written

_MASK_FOLDERS = ("segmentationclass", "segmentationobject")
_IMAGE_FOLDERS = ("images", "jpegimages")
_ENDINGS = IMAGE_ENDINGS | {".xml", ".gif", ".tga", ".ppm", ".pgm"}  # of labels, and of images before conversion
_DRIVE = re.compile(r"^[A-Za-z]:")


class Match(NamedTuple):
    """The images that a name may mean.

    Attributes:
        paths: one, none, or several that cannot be told apart.
        is_sure: no folder of the name is another one than the image's; a whole path of another machine, or an
            address, may have others.
        num_folders: how many folders in the name and in the image's path agree, counted from the end.
    """

    paths: list[str]
    is_sure: bool = True
    num_folders: int = 0


class ImageIndex:
    """Images, for looking up by name."""

    def __init__(self, images: Sequence[str]) -> None:
        """Take relative paths with forward slashes; VOC's masks, of the same names, are found by their paths alone."""
        self._by_path: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in images:
            self._by_path[name_key(path)].append(path)
            if any(part.lower() in _MASK_FOLDERS for part in path.split("/")[:-1]):
                continue
            name = name_key(posixpath.basename(path))
            self._by_name[name].append(path)
            self._by_stem[posixpath.splitext(name)[0]].append(path)

    def match(self, name: str, *, beside: str, split: str = "") -> Match:
        """Return the images that a label may mean by `name`.

        First as a path, from the label's own folder and from the root; then by its last part, where the folders before
        it agree as far as both have some; then with another ending; and last with other folders.

        Of several, those whose folders agree furthest come first, then those in the label's own folder or in one of
        its name, in a folder of its split, and in a folder of images.

        Args:
            name: a path, a name or an address, as it stands in the label.
            beside: the label's folder, relative to the root.
            split: ready-made split of the label, if known.
        """
        texts = list(dict.fromkeys(_spellings(name)))
        for text in texts:
            for path in (posixpath.normpath(posixpath.join(beside, text)), posixpath.normpath(text.lstrip("/"))):
                if found := as_written(path, self._by_path.get(name_key(path), [])):
                    return Match(found, num_folders=path.count("/"))
        for is_sure in (True, False):
            for text in texts:
                if match := self._by_last_part(text, beside, split, is_sure):
                    return match
        return Match([])

    def _by_last_part(self, text: str, beside: str, split: str, is_sure: bool) -> Match | None:
        name, folders = posixpath.basename(text), _folders(text)
        stem, ending = posixpath.splitext(name)
        places = [(name, self._by_name), (name, self._by_stem)]
        if ending.lower() in _ENDINGS:  # "book 1.5" has none, and is not "book 1.jpg"
            places.append((stem, self._by_stem))
        for key, found in places:
            shared = {path: num_shared(folders, _folders(path)) for path in found.get(name_key(key), ())}
            near = [path for path in shared if _agree(folders, _folders(path)) == is_sure]
            if near:
                most = max(shared[path] for path in near)
                paths = [path for path in near if shared[path] == most]
                if is_sure:
                    return Match(_narrowed(paths, name, beside, split), num_folders=most)
                return Match(paths, text.startswith("/"), most)
        return None


def rightful(claims: Sequence[tuple[str, Match]]) -> list[bool]:
    """Tell which of the names that all mean one image may have it.

    All may where their folders agree. Of others (seq1/1.jpg and seq2/1.jpg, where one 1.jpg is there) only the one may
    whose folders agree furthest with the image's, and none where two do so equally.
    """
    folders = [_folders(_plain(name)) for name, _ in claims]
    if all(_agree(one, other) for place, one in enumerate(folders) for other in folders[:place]):
        return [True] * len(claims)
    scores = [(match.is_sure, match.num_folders) for _, match in claims]
    best = max(scores)
    return [score == best and scores.count(best) == 1 for score in scores]


def num_shared(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many parts of two paths agree, counted from the end."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count


def _agree(first: Sequence[str], second: Sequence[str]) -> bool:
    """Tell whether the folders of two paths are the same as far as both go, counted from the end."""
    return num_shared(first, second) == min(len(first), len(second))


def _plain(name: str) -> str:
    *_, last = _spellings(name)
    return last


def _folders(path: str) -> list[str]:
    return [name_key(part) for part in path.split("/")[:-1] if part not in ("", ".", "..")]


def _spellings(name: str) -> Iterator[str]:
    """Yield a name as it stands, and what is left of an address or of another system's path."""
    text = name.strip().replace("\\", "/")
    yield text
    if "?d=" in text:  # Label Studio's local files: /data/local-files/?d=shots/a.jpg
        text = "/" + text.partition("?d=")[2]
    elif "://" in text:
        text = re.split("[?#]", "/" + text.partition("://")[2].partition("/")[2])[0]
    text = _DRIVE.sub("", text)
    yield text
    yield unquote(text)


def _narrowed(paths: list[str], name: str, beside: str, split: str) -> list[str]:
    stem = posixpath.splitext(composed(name))[0]
    near = max((num_shared(_folders(path), _folders(f"{beside}/")) for path in paths), default=0)
    preferences: tuple[Callable[[str], bool], ...] = (
        lambda path: posixpath.basename(path) == name,
        lambda path: posixpath.splitext(composed(posixpath.basename(path)))[0] == stem,
        lambda path: posixpath.dirname(path) == beside,
        lambda path: num_shared(_folders(path), _folders(f"{beside}/")) == near,
        lambda path: bool(split) and split_above(path) == split,
        lambda path: any(part.lower() in _IMAGE_FOLDERS for part in path.split("/")[:-1]),
    )
    for preferred in preferences:
        if len(paths) > 1:
            paths = [path for path in paths if preferred(path)] or paths
    return paths

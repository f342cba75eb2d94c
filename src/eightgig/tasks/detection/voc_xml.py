"""One XML file of Pascal VOC, read with the line that each object begins on; entities are refused: it cannot grow."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from eightgig.core.errors import ImageRejectedError
from eightgig.tasks.detection.reading import whole_number

EDGES = ("xmin", "ymin", "xmax", "ymax")
_DEEPEST = 4
_LARGEST_SIDE = 10**9
_BEGINNING = 4096  # bytes: room for a licence before the first element


@dataclass(frozen=True)
class VocObject:
    """One <object>, as text.

    Attributes:
        line: where it begins.
        name: its class; empty where there is none.
        edges: by their names in `EDGES`; None where one is missing.
    """

    line: int
    name: str
    edges: dict[str, str | None]


@dataclass(frozen=True)
class VocFile:
    """What a file says; `filename` and `size` (width, height) where it says so."""

    filename: str
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def parse_voc(data: bytes) -> VocFile:
    """Return the content of an XML file.

    Raises:
        ImageRejectedError: it is not VOC's XML, or it has a document type, where entities could be declared.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ImageRejectedError("malformed_label", f"wanted XML, but it cannot be read as such ({error})") from error
    return VocFile(reader.texts.get("filename", "").replace("\\", "/"), reader.size(), reader.objects())


def looks_like_voc(path: Path) -> bool:
    """Tell whether a file begins as one of VOC's does, with an <annotation>; `<annotations>` is CVAT's."""
    try:
        with path.open("rb") as file:
            return (
                re.search(rb"<annotation[\s>/]", file.read(_BEGINNING).replace(b"\0", b""), re.IGNORECASE) is not None
            )
    except OSError:
        return False


@dataclass
class _Element:
    """An <object> in the making: the texts of what is in it, by their path."""

    line: int
    texts: dict[str, str] = field(default_factory=dict)


class _Reader:
    """Collects what expat finds."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = _refuse_document_type
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.texts: dict[str, str] = {}
        self._elements: list[_Element] = []
        self._path: list[str] = []
        self._text: list[str] = []

    def size(self) -> tuple[int, int] | None:
        """Return width and height; a size of nothing is what some tools write when they do not know it."""
        texts = (self.texts.get(f"size/{side}", "") for side in ("width", "height"))
        width, height = (whole_number(text) or 0 for text in texts)
        return (width, height) if 0 < width < _LARGEST_SIDE and 0 < height < _LARGEST_SIDE else None

    def objects(self) -> tuple[VocObject, ...]:
        """Return the objects in the order of the file."""
        return tuple(
            VocObject(each.line, each.texts.get("name", ""), {edge: each.texts.get(f"bndbox/{edge}") for edge in EDGES})
            for each in self._elements
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:  # noqa: ARG002 - expat's interface
        tag = tag.lower()
        self._path.append(tag)
        self._text.clear()
        if len(self._path) == 1 and tag != "annotation":
            raise ImageRejectedError("malformed_label", f"wanted VOC's <annotation>, found <{tag:.40}>")
        if len(self._path) == 2 and tag == "object":
            self._elements.append(_Element(self.parser.CurrentLineNumber))

    def _end(self, tag: str) -> None:  # noqa: ARG002 - expat's interface
        if len(self._path) <= _DEEPEST:
            inside_object = self._path[1:2] == ["object"]
            texts, start = (self._elements[-1].texts, 2) if inside_object else (self.texts, 1)
            texts.setdefault("/".join(self._path[start:]), "".join(self._text).strip())
        self._path.pop()
        self._text.clear()

    def _characters(self, text: str) -> None:
        self._text.append(text)


def _refuse_document_type(*_: object) -> None:
    raise ImageRejectedError("malformed_label", "it declares a document type; remove the <!DOCTYPE ...>")

"""One report page, as plain values and figures (`eightgig.report.html` writes it); imports nothing heavy.

A page says nothing about what kind of model it shows, so every case study uses it:
`Page > Section > Facts | Table | Chart | Gallery | Code | Folded | Links`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from eightgig.report.annotations import Figure, ImageArray
from eightgig.report.annotations import Table as Frame

Mark = Literal["plain", "good", "bad"]
Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Fact:
    """One figure a person should see: a label, a value and what it is compared with."""

    label: str
    value: Cell
    note: str = ""
    mark: Mark = "plain"
    part: float | None = None  # 0..1 draws a bar: how much of a budget is used


@dataclass(frozen=True)
class Facts:
    """A list of labelled values, for parameters, versions and the machine."""

    facts: Sequence[Fact]
    caption: str = ""
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Table:
    """Rows under named columns; missing values become dashes, numbers are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    kind: ClassVar[str] = "table"

    @classmethod
    def from_frame(cls, frame: Frame, *, caption: str = "", formats: Mapping[str, str] | None = None) -> "Table":
        """Return the table of a DataFrame: its index left out, `_` in names as spaces.

        Args:
            frame: the rows.
            caption: what stands over it.
            formats: how to write a column, for example `{"accuracy": ".1%"}`.
        """
        formats = formats or {}
        columns = [[_formatted(value, formats.get(str(name))) for value in frame[name]] for name in frame]
        return cls([_heading(str(name)) for name in frame], list(zip(*columns, strict=True)), caption)

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold nothing but numbers."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [() for _ in self.columns]
        return [all(map(_is_number, cells)) and not all(map(is_missing, cells)) for cells in columns]


@dataclass(frozen=True)
class Chart:
    """A plotly figure."""

    figure: Figure
    caption: str = ""
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Image:
    """An image with its caption: a short line, and a quieter second one."""

    source: str  # a data: address
    caption: str = ""
    note: str = ""
    mark: Mark = "plain"

    @classmethod
    def from_array(cls, image_HWC: ImageArray, caption: str = "", *, note: str = "", mark: Mark = "plain") -> "Image":
        """Return the image of an array (height, width, 3) uint8, at most 360 px a side."""
        from eightgig.report.images import to_data_uri

        return cls(to_data_uri(image_HWC, longest_side_px=360), caption, note, mark)


@dataclass(frozen=True)
class Gallery:
    """Images side by side."""

    images: Sequence[Image]
    caption: str = ""
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Code:
    """Text as it is typed: commands, a configuration."""

    text: str
    caption: str = ""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Folded:
    """What only some readers want: one line that opens to the rest. Without charts, which need a width to be drawn."""

    summary: str
    blocks: Sequence[Facts | Table | Code]
    caption: ClassVar[str] = ""
    kind: ClassVar[str] = "folded"


@dataclass(frozen=True)
class Link:
    """Another page: where it lies from this one, and what it says."""

    address: str
    title: str
    text: str = ""
    note: str = ""


@dataclass(frozen=True)
class Links:
    """Other pages below one another."""

    links: Sequence[Link]
    caption: str = ""
    kind: ClassVar[str] = "links"


Block = Facts | Table | Chart | Gallery | Code | Folded | Links


@dataclass(frozen=True)
class Section:
    """A heading, some sentences (a blank line parts paragraphs), and blocks that stand below one another."""

    title: str
    prose: str = ""
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: its name.
        subtitle: one line on what it shows.
        headline: the figures a person should see first.
        sections: in their order.
        footer: the last line.
        summary: how good it is and what to do next, in plain words.
    """

    title: str
    subtitle: str
    headline: Sequence[Fact]
    sections: Sequence[Section]
    footer: str = ""
    summary: str = ""


def _heading(name: str) -> str:
    """Write a column's name for a person: `size_mib` is `size MiB`."""
    return " ".join({"mib": "MiB", "gib": "GiB"}.get(word, word) for word in name.split("_"))


def is_missing(value: object) -> bool:
    """Return whether a cell holds nothing: an empty text, None, or what pandas takes for missing."""
    import pandas as pd

    return value == "" if isinstance(value, str) else bool(pd.isna(value))  # type: ignore[call-overload]


def _is_number(value: object) -> bool:
    """Tell what is set to the right: a number, or a text that starts like one."""
    return is_missing(value) or not isinstance(value, str) or value.lstrip("+-−")[:1].isdigit()


def _formatted(value: object, spec: str | None) -> Cell:
    if spec is None or is_missing(value) or isinstance(value, str):
        return value  # type: ignore[return-value]
    return format(value, spec)

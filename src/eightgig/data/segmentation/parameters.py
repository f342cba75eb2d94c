"""What a run is told about its pictures with masks."""

from typing import Any, Literal, Self

from pydantic import model_validator

from eightgig.data.parameters import PictureParameters


class SegmentationDataParameters(PictureParameters):
    """Where pictures with masks come from, which are refused, how they are split and stored.

    The fractions hold where the set has no split of its own. See `PictureParameters` for the others.

    Attributes:
        source: `rendered` (drawn by code), `cityscapes` (leftImg8bit and gtFine below `root`), `folders` (a folder of
            pictures and one of masks), or `auto` (found out); with a root, `rendered` becomes `auto`.
        class_table: `cityscapes`, `camvid`, `voc`, or a file that names the classes and their labels or colours (see
            docs/cases/semantic_segmenter.md); None takes the one below `root`.
    """

    source: Literal["rendered", "cityscapes", "folders", "auto"] = "rendered"
    class_table: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _root_means_auto(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("root") and values.get("source", "rendered") == "rendered":
            return {**values, "source": "auto"}
        return values

    @model_validator(mode="after")
    def _files_have_a_root(self) -> Self:
        if self.source != "rendered" and not self.root:
            raise ValueError(
                f"source '{self.source}' needs a root. Set data.root to the folder of the pictures, "
                "or data.source to 'rendered'."
            )
        return self

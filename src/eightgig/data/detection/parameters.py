"""What a run is told about its pictures with boxes."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from eightgig.data.parameters import PictureParameters


class DetectionDataParameters(PictureParameters):
    """Where pictures with boxes come from, which are refused, how they are split and stored.

    The fractions hold where the set has no split of its own. See `PictureParameters` for the others.

    Attributes:
        source: `rendered` (drawn by code), `yolo`, `voc` or `coco` (the format of what lies under `root`), or `auto`
            (found out); with a root, `rendered` becomes `auto`.
        annotations: the file or folder of the labels where it is not found by itself, relative to `root` or absolute:
            YOLO's data.yaml, the folder of VOC's XML files, a COCO JSON file.
        label_lines: what the lines of YOLO's labels are: `boxes`, `polygons`, `oriented` (boxes with four corners) or
            `keypoints`; None leaves it to data.yaml, and refuses lines that could be polygons or keypoints.
        min_box_side: a box with a shorter side, in pixels, is left out.
        max_background_fraction: the run fails when this share of the pictures, or more, would be taken as background:
            mostly their labels were not found.
    """

    source: Literal["rendered", "yolo", "voc", "coco", "auto"] = "rendered"
    annotations: str | None = None
    label_lines: Literal["boxes", "polygons", "oriented", "keypoints"] | None = None
    min_box_side: float = Field(default=2.0, ge=1.0)
    max_background_fraction: float = Field(default=0.5, gt=0.0, le=1.0)

    @model_validator(mode="before")
    @classmethod
    def _root_means_auto(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("root") and values.get("source", "rendered") == "rendered":
            return {**values, "source": "auto"}
        return values

    @model_validator(mode="after")
    def _files_have_a_root(self) -> Self:
        if self.root:
            return self
        if self.source != "rendered":
            raise ValueError(
                f"source '{self.source}' needs a root. Set data.root to the folder of the pictures, "
                "or data.source to 'rendered'."
            )
        if self.annotations:
            raise ValueError("annotations need a root. Set data.root to the folder of the pictures.")
        return self

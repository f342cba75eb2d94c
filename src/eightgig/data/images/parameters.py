"""What a run is told about its images: where they are, how they are stored, split and varied."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from eightgig.core.records import Record

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
FolderLayout = Literal["auto", "classes", "splits"]
"""What the folders under a root are: classes, or ready-made splits with class folders in them."""
Strength = Annotated[float, Field(ge=0.0, lt=1.0)]

# Pillow refuses more than this by itself (2 x its MAX_IMAGE_PIXELS), so a higher limit would be a promise not kept.
PILLOW_LIMIT_PIXELS = 178_956_970


class ImageParameters(Record):
    """What every case study on images is told about them.

    Attributes:
        root: folder of the images.
        seed: for rendering and for the split.
        val_fraction: share of the images kept for validation.
        test_fraction: share kept for the final test.
        num_images: how many images to draw; `rendered` only.
        max_pixels: an image with more pixels is refused by its header, before decoding.
        min_side: an image with a shorter side, in pixels, is refused.
        max_reject_fraction: the run fails when a larger share of the files is refused.
        store_short_side: images with a longer short side are stored smaller, as JPEG; None stores all as they are.
        store_shard_gib: a store of more than this is cut into several files, which are read as one.
    """

    root: str | None = None
    seed: int = 0
    val_fraction: Fraction = 0.15
    test_fraction: Fraction = 0.15
    num_images: int = Field(default=600, ge=1)
    max_pixels: int = Field(default=100_000_000, ge=1, le=PILLOW_LIMIT_PIXELS)
    min_side: int = Field(default=16, ge=1)
    max_reject_fraction: float = Field(default=0.05, ge=0.0, le=1.0)
    store_short_side: int | None = Field(default=None, ge=16)
    store_shard_gib: float = Field(default=8.0, gt=0)

    @model_validator(mode="after")
    def _leave_some_for_training(self) -> Self:
        if self.val_fraction + self.test_fraction >= 0.9:
            raise ValueError(
                f"val_fraction {self.val_fraction} + test_fraction {self.test_fraction} leave under a tenth for "
                "training. Keep their sum below 0.9."
            )
        return self


class DataParameters(ImageParameters):
    """Where images with a class each come from, which are refused, how they are split and stored.

    The fractions hold in each class. See `ImageParameters` for the others.

    Attributes:
        source: `rendered` (drawn by code), `folder` (class folders under `root`), `oxford102` (below `root`
            or fetched); with a root, `rendered` becomes `folder`.
        layout: whether the folders under `root` are `classes` or ready-made `splits` (train, val, test, with class
            folders in them); `auto` finds out, and refuses what could be either.
        min_images_per_class: different images a class must have; three let each split have one.
        tier: `jpeg` stores files as they are; `decoded` stores pixels: faster to read, about four times the size.
        decoded_side: side, in pixels, of the square images of the decoded tier.
        view: how drawn flowers are seen, `rendered` only: `portrait`, one fills much of the image; `garden`, smaller,
            among others, hidden in part, in the shade.
        allow_download: whether `oxford102` may be fetched when it is not below `root`.
    """

    source: Literal["rendered", "folder", "oxford102"] = "rendered"
    layout: FolderLayout = "auto"
    min_images_per_class: int = Field(default=3, ge=3)
    tier: Literal["jpeg", "decoded"] = "jpeg"
    decoded_side: int = Field(default=320, ge=16)
    view: Literal["portrait", "garden"] = "portrait"
    allow_download: bool = True

    @model_validator(mode="before")
    @classmethod
    def _root_means_folder(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("root") and values.get("source", "rendered") == "rendered":
            return {**values, "source": "folder"}
        return values

    @model_validator(mode="after")
    def _folder_has_a_root(self) -> Self:
        if self.source == "folder" and not self.root:
            raise ValueError(
                "source 'folder' needs a root. Set data.root to the folder of the images, or data.source to 'rendered'."
            )
        return self


class AugmentParameters(Record):
    """How a training image is varied; the values are torchvision's, the strengths the article's.

    Attributes:
        crop_scale: smallest and largest share of the image's area that a random crop keeps.
        crop_ratio: smallest and largest width / height of a crop.
        flip: probability of a left-right flip.
        brightness: factors are drawn from [1 - brightness, 1 + brightness].
        contrast: likewise.
        saturation: likewise.
    """

    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = Field(default=0.5, ge=0.0, le=1.0)
    brightness: Strength = 0.2
    contrast: Strength = 0.2
    saturation: Strength = 0.2

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale {self.crop_scale}: wanted 0 < smallest <= largest <= 1")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio {self.crop_ratio}: wanted 0 < smallest <= largest")
        return self

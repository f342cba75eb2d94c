"""From an image with its mask to a sample; whatever moves the one moves the other."""

import cv2

from eightgig.data.images.decoding import Pixels
from eightgig.data.images.letterbox import Placement, inner_size, letterbox_into
from eightgig.data.images.transforms import CropBox, crop_resize_into
from eightgig.data.store.masks import VOID, Labels, resize_mask


def crop_both_into(
    image_HWC: Pixels, labels_HW: Labels, box: CropBox, out_HWC: Pixels, out_HW: Labels, *, flip: bool = False
) -> None:
    """Write the `box` of an image and of its mask into `out_HWC` and `out_HW`, resized, mirrored on request.

    The image is averaged or interpolated (`crop_resize_into`); each pixel of the mask takes the nearest label.
    """
    crop_resize_into(image_HWC, box, out_HWC, flip=flip)
    part_HW = labels_HW[box.top : box.top + box.height, box.left : box.left + box.width]
    out_HW[:] = resize_mask(part_HW, *out_HW.shape)
    if flip:
        cv2.flip(out_HW, 1, dst=out_HW)


def letterbox_both_into(image_HWC: Pixels, labels_HW: Labels, out_HWC: Pixels, out_HW: Labels) -> Placement:
    """Write a whole image and its mask into squares, the aspect kept; beside them is grey, and void."""
    placement = letterbox_into(image_HWC, out_HWC)
    height, width = inner_size(labels_HW.shape[0], labels_HW.shape[1], len(out_HW))
    out_HW[:] = VOID
    inner_HW = out_HW[placement.top :, placement.left :][:height, :width]
    inner_HW[:] = resize_mask(labels_HW, height, width)
    return placement

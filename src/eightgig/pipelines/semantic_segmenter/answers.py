"""The trained network on whole pictures of any shape, at the size it was trained for."""

from typing import Any

from eightgig.datasets.weights import Weights
from eightgig.stages.pictures import CaseOnPictures
from eightgig.stages.trained import restore


class PixelClasses:
    """From a picture to the class of each of its pixels.

    Args:
        case: of the pipeline.
        weights: of the trained network.
    """

    def __init__(self, case: CaseOnPictures, weights: Weights) -> None:
        self._case, self._card = case, weights.card
        self._module = case.deployed(restore(case, weights))

    def __call__(self, image_HWC: Any) -> Any:
        """Give labels_HW, uint8, in the size of the picture (uint8 height x width x 3).

        The picture is letterboxed to the network's size; its logits are enlarged before the likeliest is taken, so that
        borders are as smooth as the picture is large.
        """
        import torch
        from torch.nn.functional import interpolate

        from eightgig.data.detection.transforms import placement_of
        from eightgig.data.segmentation.transforms import inner_size

        height, width = image_HWC.shape[:2]
        side = self._card.image_size
        picture = self._case.eval_picture(image_HWC, image_size=side)
        placement, inner = placement_of(height, width, side), inner_size(height, width, side)
        with torch.inference_mode():
            logits_NKHW = self._module(self._case.inputs(self._card, {"images": picture[None]})["images"])
            seen = logits_NKHW[:, :, placement.top :, placement.left :][:, :, : inner[0], : inner[1]]
            whole = interpolate(seen, size=(height, width), mode="bilinear", align_corners=False)
        return whole[0].argmax(0).to(torch.uint8).numpy()

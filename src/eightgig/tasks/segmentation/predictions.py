"""The trained network on whole images of any shape, at the size it was trained for."""

from typing import TYPE_CHECKING, Any

from eightgig.models.cards import ImageCard
from eightgig.stages.images import ImageTask
from eightgig.stages.inputs import feeds_of

if TYPE_CHECKING:
    from eightgig.export.runners import Runner


class PixelClasses:
    """From an image to the class of each of its pixels.

    Args:
        task: of the pipeline.
        card: of the trained network.
        runner: of the trained network, open.
    """

    def __init__(self, task: ImageTask, card: ImageCard, runner: "Runner") -> None:
        self._task, self._card, self._runner = task, card, runner

    def __call__(self, image_HWC: Any) -> Any:
        """Return labels_HW, uint8, in the size of the image (uint8 height x width x 3).

        The image is letterboxed to the network's size; its logits are enlarged before the likeliest is taken, so that
        borders are as smooth as the image is large. That is done on the CPU: a photo's logits may be larger than a
        GPU's memory.
        """
        import torch
        from torch.nn.functional import interpolate

        from eightgig.data.images.letterbox import inner_size, placement_of

        height, width = image_HWC.shape[:2]
        side = self._card.image_size
        image = self._task.eval_image(image_HWC, image_size=side)
        placement, inner = placement_of(height, width, side), inner_size(height, width, side)
        outputs = self._runner.run(feeds_of(self._task.inputs(self._card, {"images": image[None]})))
        (logits_NKHW,) = map(torch.from_numpy, outputs.values())
        with torch.inference_mode():
            seen = logits_NKHW[:, :, placement.top :, placement.left :][:, :, : inner[0], : inner[1]]
            whole = interpolate(seen, size=(height, width), mode="bilinear", align_corners=False)
        return whole[0].argmax(0).to(torch.uint8).numpy()

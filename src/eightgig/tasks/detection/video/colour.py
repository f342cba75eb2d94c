"""From what a decoder gives (any of FFmpeg's some 200 pixel formats) to 8-bit BGR, and back to what is encoded."""

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from eightgig.tasks.detection.video.frames import Frame

_UNKNOWN_MATRIX = 2  # AVCOL_SPC_UNSPECIFIED
# From these sizes on, players take an untagged video for BT.709, below for BT.601.
_HD_WIDTH, _HD_HEIGHT = 1280, 576
_WHITE = 255


class ToBgr:
    """Converts decoded frames, with the colours that a player shows."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Frame:
        """Return the pixels, BGR, height x width x 3; what is transparent is laid over white, as for images."""
        if not _may_be_transparent(frame):
            return self._converted(frame, "bgr24")
        pixels_HW4 = self._converted(frame, "bgra")
        alpha_HW1 = pixels_HW4[..., 3:]
        opaque_HW3 = np.ascontiguousarray(pixels_HW4[..., :3])
        if alpha_HW1.min() == _WHITE:
            return opaque_HW3
        weight_HW1 = alpha_HW1.astype(np.float32) / _WHITE
        return np.rint(opaque_HW3 * weight_HW1 + _WHITE * (1 - weight_HW1)).astype(np.uint8)

    def _converted(self, frame: av.VideoFrame, wanted: str) -> Frame:
        guess = None if frame.format.is_rgb or frame.colorspace != _UNKNOWN_MATRIX else usual_matrix(frame)
        try:
            shown = self._reformatter.reformat(frame, format=wanted, src_colorspace=guess, threads=1)
        except av.FFmpegError:  # a damaged header names a matrix that does not exist
            shown = self._reformatter.reformat(frame, format=wanted, src_colorspace=usual_matrix(frame), threads=1)
        return np.asarray(shown.to_ndarray(), np.uint8)


def usual_matrix(frame: av.VideoFrame) -> Colorspace:
    """Return the matrix that players take where a video names none."""
    return Colorspace.ITU709 if frame.width >= _HD_WIDTH or frame.height > _HD_HEIGHT else Colorspace.ITU601


def _may_be_transparent(frame: av.VideoFrame) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)

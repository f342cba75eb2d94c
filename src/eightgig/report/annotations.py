"""Heavy types of a page's parts: real to a type checker, `Any` at run time (see `eightgig.stages.annotations`)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame as Table
    from plotly.graph_objects import Figure

    ImageArray = NDArray[Any]
else:
    Figure = ImageArray = Table = Any

__all__ = ["Figure", "ImageArray", "Table"]

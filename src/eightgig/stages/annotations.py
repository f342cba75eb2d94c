"""Heavy types for the annotations of nodes: real to a type checker, `Any` at run time.

Kedro resolves the annotations of every node when it builds the pipelines, to check parameters before anything runs;
importing torch for that would cost seconds at each `kedro` command.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame as Table
    from plotly.graph_objects import Figure
    from torch.utils.data import DataLoader

    from eightgig.data.folders import ClassFolders
    from eightgig.data.hdf5 import ImageStore
    from eightgig.data.store_content import StoreContent
    from eightgig.data.text.token_store import TokenContent, TokenStore
    from eightgig.export.task import Task
    from eightgig.models.network import Network, PictureNetwork, TextNetwork
    from eightgig.training.distillation import SoftLoss
    from eightgig.training.loop import TrainingResult
    from eightgig.training.objective import Batch, Objective
    from eightgig.vram.tracing.spec import WorkloadSpec

    Batches = DataLoader[Batch]
    Picture = NDArray[Any]
else:
    Batches = ClassFolders = Figure = ImageStore = Network = Objective = Picture = PictureNetwork = Any
    SoftLoss = StoreContent = Table = Task = TextNetwork = TokenContent = TokenStore = TrainingResult = WorkloadSpec = (
        Any
    )

__all__ = [
    "Batches",
    "ClassFolders",
    "Figure",
    "ImageStore",
    "Network",
    "Objective",
    "Picture",
    "PictureNetwork",
    "SoftLoss",
    "StoreContent",
    "Table",
    "Task",
    "TextNetwork",
    "TokenContent",
    "TokenStore",
    "TrainingResult",
    "WorkloadSpec",
]

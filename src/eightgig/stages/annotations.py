"""Heavy types for the annotations of nodes: real to a type checker, `Any` at run time.

Kedro resolves the annotations of every node when it builds the pipelines, to check parameters before anything runs;
importing torch for that would cost seconds at each `kedro` command.
"""

from typing import TYPE_CHECKING, Any

from eightgig.report.annotations import Figure, ImageArray, Table

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from eightgig.data.ingest.folders import ClassFolders
    from eightgig.data.store.content import StoreContent
    from eightgig.data.store.reader import ImageStore
    from eightgig.data.store.tokens import TokenContent, TokenStore
    from eightgig.export.evaluator import Evaluator
    from eightgig.models.network import ImageNetwork, Network, TextNetwork
    from eightgig.training.checkpointing.history import TrainingResult
    from eightgig.training.distillation import SoftLoss
    from eightgig.training.objective import Batch, Objective
    from eightgig.vram.tracing.spec import WorkloadSpec

    Batches = DataLoader[Batch]
else:
    Batches = ClassFolders = ImageStore = Network = Objective = ImageNetwork = Any
    SoftLoss = StoreContent = Evaluator = TextNetwork = TokenContent = TokenStore = TrainingResult = WorkloadSpec = Any

__all__ = [
    "Batches",
    "ClassFolders",
    "Evaluator",
    "Figure",
    "ImageArray",
    "ImageNetwork",
    "ImageStore",
    "Network",
    "Objective",
    "SoftLoss",
    "StoreContent",
    "Table",
    "TextNetwork",
    "TokenContent",
    "TokenStore",
    "TrainingResult",
    "WorkloadSpec",
]

"""What all case studies on pictures answer in the same way (see `eightgig.stages.case.Case`)."""

from typing import Any

from eightgig.core.device import loader_processes
from eightgig.datasets.weights import WeightsCard
from eightgig.models.compression import Shapes
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import ImageStore, Network, SoftLoss, WorkloadSpec
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Precision


class PictureCase:
    """A network on batches of `images`; a case study says the rest, and has `make_workload` beside its class."""

    def prepare(
        self,
        network: Network,
        store: ImageStore,
        indices: list[int],
        *,
        image_size: int,
        train: Any,
    ) -> None:
        """Do nothing: all of the network is learnt."""

    def workload(
        self,
        model: ModelParameters,
        num_classes: int,
        train: TrainParameters,
        *,
        shapes: Shapes | None = None,
        teacher: str | None = None,
        precision: Precision = "fp32",
    ) -> WorkloadSpec:
        """Say where the memory planner's child process finds what this case trains."""
        from eightgig.stages.workloads import spec_of

        factory = f"{type(self).__module__}:make_workload"
        return spec_of(factory, model, train, num_classes, shapes=shapes, teacher=teacher, precision=precision)

    def soft_loss(self) -> SoftLoss | None:
        """Give None: logits are compared."""
        return None

    def inputs(self, card: WeightsCard, batch: Any) -> Any:
        """Give a batch's pictures as float32 N3HW, normalised as the network's card says."""
        from eightgig.data.transforms import DeviceColour

        return DeviceColour(mean=card.mean, std=card.std).eval()(batch["images"])

    def deployed(self, network: Network) -> Any:
        """Give the network itself."""
        return network.module


def loading(train: TrainParameters) -> dict[str, Any]:
    """Give how training batches are loaded, as the loaders take it."""
    import torch

    workers = loader_processes(train.num_workers)
    return {"seed": train.seed, "num_workers": workers, "pin_memory": torch.cuda.is_available()}


def letterboxed(image_HWC: Any, image_size: int) -> Any:
    """Give a whole picture on a square, grey beside it, as a uint8 tensor, 3 x image_size x image_size."""
    import numpy as np
    import torch

    from eightgig.data.detection.transforms import letterbox_into

    canvas_HWC = np.empty((image_size, image_size, 3), np.uint8)
    letterbox_into(image_HWC, canvas_HWC)
    return torch.from_numpy(canvas_HWC).permute(2, 0, 1)

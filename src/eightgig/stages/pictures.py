"""What all case studies on pictures answer in the same way (see `eightgig.stages.case.Case`)."""

from collections.abc import Mapping
from typing import Any, Protocol

from eightgig.core.device import loader_processes
from eightgig.models.cards import PictureCard
from eightgig.models.compression import Shapes
from eightgig.models.parameters import PictureModelParameters
from eightgig.stages.annotations import ImageStore, PictureNetwork, SoftLoss, WorkloadSpec
from eightgig.stages.case import Case
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Precision


class CaseOnPictures(Case, Protocol):
    """A case study whose samples are pictures; `PictureCase` answers what all of them answer alike."""

    def eval_picture(self, image_HWC: Any, *, image_size: int) -> Any:
        """Return one picture (uint8, any size) as `eval_batches` would: a uint8 tensor, 3 x image_size x image_size."""


class PictureCase:
    """A network on batches of `images`; a case study says the rest, and has `make_workload` beside its class."""

    channels_last = True

    def num_outputs(self, store: ImageStore) -> int:
        """Return the number of classes."""
        return len(store.classes)

    def blank(self, card: PictureCard) -> PictureModelParameters:
        """Return the network's name and the size of its pictures."""
        return PictureModelParameters(name=card.model, weights="none", image_size=card.image_size)

    def prepare(
        self,
        network: PictureNetwork,
        store: ImageStore,
        indices: list[int],
        *,
        size: int,
        train: Any,
    ) -> None:
        """Do nothing: all of the network is learnt."""

    def card(
        self,
        network: PictureNetwork,
        store: ImageStore,  # noqa: ARG002 - pictures are all the network needs to know of
        *,
        size: int,
        common: Mapping[str, Any],
    ) -> PictureCard:
        """Return the card, with size and colours."""
        return PictureCard(image_size=size, mean=network.mean, std=network.std, **common)

    def workload(
        self,
        model: PictureModelParameters,
        num_classes: int,
        train: TrainParameters,
        *,
        shapes: Shapes | None = None,
        teacher: str | None = None,
        precision: Precision = "fp32",
    ) -> WorkloadSpec:
        """Return where the memory planner's child process finds what this case trains."""
        from eightgig.stages.workloads import spec_of

        factory = f"{type(self).__module__}:make_workload"
        return spec_of(factory, model, train, num_classes, shapes=shapes, teacher=teacher, precision=precision)

    def writing(self, model: Any, num_classes: int) -> WorkloadSpec | None:  # noqa: ARG002 - it does not
        """Return None: it does not write."""
        return None

    def soft_loss(self) -> SoftLoss | None:
        """Return None: logits are compared."""
        return None

    def finished(self, network: Any, state: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - trained as it is
        """Return the same weights."""
        return state

    def check_store(self, card: PictureCard, store: ImageStore) -> None:
        """Do nothing: a network reads any picture."""

    def eval_picture(self, image_HWC: Any, *, image_size: int) -> Any:
        """Return one picture (uint8, any size) as `eval_batches` would: a uint8 tensor, 3 x image_size x image_size."""
        raise NotImplementedError

    def inputs(self, card: PictureCard, batch: Any) -> dict[str, Any]:
        """Return a batch's pictures as float32 N3HW, normalised as the network's card says."""
        from eightgig.data.images.transforms import DeviceColour

        return {"images": DeviceColour(mean=card.mean, std=card.std).eval()(batch["images"])}

    def one_input(self, card: PictureCard, store: ImageStore, index: int) -> dict[str, Any]:
        """Return one stored picture decoded, cropped, normalised."""
        picture = self.eval_picture(store.decode(index), image_size=card.image_size)
        return self.inputs(card, {"images": picture[None]})

    def example(self, card: PictureCard) -> dict[str, Any]:
        """Return one empty picture."""
        import torch

        return {"images": torch.zeros(1, 3, card.image_size, card.image_size)}

    def free_axes(self) -> Mapping[int, str]:
        """Return the batch: pictures have one size."""
        return {0: "batch"}

    def deployed(self, network: PictureNetwork) -> Any:
        """Return the network itself."""
        return network.module

    def file_card(self, card: PictureCard) -> dict[str, str]:
        """Return the classes, the size and the colours."""
        from eightgig.export.card import ModelCard

        named = card.model_dump(include={"model", "classes", "mean", "std", "image_size"})
        return ModelCard(**named, weights_sha256=card.sha256).to_metadata()


def loading(train: TrainParameters) -> dict[str, Any]:
    """Return how training batches are loaded, as the loaders take it."""
    import torch

    workers = loader_processes(train.num_workers)
    return {"seed": train.seed, "num_workers": workers, "pin_memory": torch.cuda.is_available()}


def letterboxed(image_HWC: Any, image_size: int) -> Any:
    """Return a whole picture on a square, grey beside it, as a uint8 tensor, 3 x image_size x image_size."""
    import numpy as np
    import torch

    from eightgig.data.images.letterbox import letterbox_into

    canvas_HWC = np.empty((image_size, image_size, 3), np.uint8)
    letterbox_into(image_HWC, canvas_HWC)
    return torch.from_numpy(canvas_HWC).permute(2, 0, 1)

"""Training steps on the memory planner's fake accelerator, and each place where the host would wait for a card.

`python waiting_child.py "CASE PRECISION" ...` prints a list for each as JSON. In a process of its own, for the fake
accelerator changes torch for good. Its tensors have no values: where one is read, that is counted, and 1.0 is given.
"""

import json
import sys
import traceback
from pathlib import Path

import accelerate
import torch
from accelerate import PartialState
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.plans import make_plan

from eightgig.core.tracker import NoTracker
from eightgig.data.images.parameters import AugmentParameters
from eightgig.data.images.transforms import DeviceColour
from eightgig.tasks.detection.objective import DetectionObjective
from eightgig.tasks.detection.parameters import DetectionLossParameters
from eightgig.tasks.segmentation.objective import SegmentationObjective
from eightgig.tasks.segmentation.parameters import SegmentationLossParameters
from eightgig.training.distributed import parallel
from eightgig.training.objective import ClassificationObjective
from eightgig.training.parameters import TrainParameters
from eightgig.training.train_step import TrainStep
from eightgig.vram.tracing.fake_device import DEVICE, fake_device, is_on_device

_READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal")


class Waits(TorchDispatchMode):
    """Notes what reads a value of the card, and copies between it and the machine's memory that block."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func._schema.name
        if name in _READS:
            if is_on_device(args[0]):  # a step counter is on the CPU: to read it waits for nothing
                self.note(name)
            return 1.0
        if name in ("aten::copy_", "aten::_to_copy") and self._blocks(name, args, kwargs):
            self.note(f"{name} {tuple(args[0].shape)}")
        return func(*args, **kwargs)

    def _blocks(self, name, args, kwargs):
        if name == "aten::copy_":
            to, source, without_waiting = args[0].device, args[1], (*args[2:], kwargs.get("non_blocking", False))[0]
        else:
            to, source, without_waiting = kwargs.get("device"), args[0], kwargs.get("non_blocking", False)
        return to is not None and torch.device(to).type != source.device.type and not without_waiting

    def note(self, what):
        ours = [frame for frame in traceback.extract_stack() if "/eightgig/" in frame.filename]
        self.seen.append(f"{what} at {Path(ours[-1].filename).name}: {ours[-1].line}" if ours else what)


def accelerator_on_the_fake_card(**options):
    made = original(**{**options, "mixed_precision": "no", "cpu": True})
    made.state.device = PartialState().device = torch.device(DEVICE)
    if options["mixed_precision"] == "fp16":
        made.state._mixed_precision, made.native_amp = "fp16", True
        made.scaler = torch.amp.GradScaler(DEVICE)
    return made


def case_of(name):
    """A network, its loss and a batch as the loader gives it."""
    images = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    conv = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    if name == "classifier":
        module = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        objective = ClassificationObjective(DeviceColour(augment=AugmentParameters()))
        return module, objective, {"images": images, "labels": torch.zeros(4, dtype=torch.int64)}
    if name == "segmenter":
        loss = SegmentationLossParameters(dice=1.0)
        colour = DeviceColour(augment=AugmentParameters())
        segmenting = SegmentationObjective(colour, torch.ones(5, device="cpu"), loss)
        masks = torch.zeros(4, 64, 64, dtype=torch.uint8)
        return nn.Sequential(conv, nn.Conv2d(8, 5, 1)), segmenting, {"images": images, "masks": masks}
    from eightgig.tasks.detection.model import SIZES, YoloV5

    detector, rates = YoloV5(SIZES["yolov5n"], 3), DetectionLossParameters()
    detecting = DetectionObjective(DeviceColour(), detector, parameters=rates, num_classes=3, score=lambda *_: 0.0)
    boxes = {"boxes": torch.zeros(4, 6, 4), "box_labels": torch.zeros(4, 6, dtype=torch.int64)}
    return detector, detecting, {"images": images, **boxes}


def waits_of(name, precision):
    """Do a step, and give where the next one waits."""
    waits = Waits()
    FakeTensor.tolist = lambda self: waits.note("tolist") or [1.0] * self.numel()
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device(DEVICE):
            module, objective, batch = case_of(name)
        batch = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in batch.items()}
        recipe = TrainParameters(optimizer="sgd" if name == "detector" else "adamw", ema_decay=0.99)
        kernel = "foreach" if name == "detector" else "fused"
        # The plan says cpu where it only decides what watches: there is no CUDA here to be watched.
        plan = make_plan(precision=precision, micro_batch=4, gradient_accumulation_steps=1, optimizer_kernel=kernel)
        train_step = TrainStep(module, objective, plan=plan, parameters=recipe, steps=10, tracker=NoTracker())
        with waits:
            train_step.run([batch])
            waits.seen.clear()  # what is done once
            _, norm = train_step.run([batch])
    assert norm is not None
    return waits.seen


if __name__ == "__main__":
    with fake_device():
        original = accelerate.Accelerator
        vars(parallel)["Accelerator"] = accelerator_on_the_fake_card
        # A fake tensor can be moved only by hand (as the tracer does); here it is where it has to be from the start.
        nn.Module.to = lambda self, *_, **__: self
        sys.stdout.write(json.dumps({step: waits_of(*step.split()) for step in sys.argv[1:]}))

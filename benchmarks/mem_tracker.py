"""What torch's own `MemTracker` says of a run, under fake tensors on the CPU: a peer beside `scoreboard.py`.

`torch.distributed._tools.mem_tracker` follows every tensor of a step that is run without values. Each run is asked of
in a process of its own, with a time limit: what it cannot follow is counted by the kind of its error.
"""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec

TOOL = "torch MemTracker"
_SECONDS = 400  # more than the slowest prediction takes on a loaded machine
_STEPS = 2  # in the first the optimizer makes its state


def tracked_peak(workload: WorkloadSpec, options: StepOptions) -> int | str:
    """Return the most bytes that the tracker saw held, or the kind of error that it ended in."""
    asked = json.dumps([workload.model_dump(), options.model_dump()])
    command = [sys.executable, str(Path(__file__)), asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603  ours
    except subprocess.TimeoutExpired:
        return f"no answer in {_SECONDS} s"
    lines = done.stdout.splitlines()
    if not lines:
        return f"its process ended with {done.returncode}"
    said: int | str = json.loads(lines[-1])
    return said


def _peak(workload: WorkloadSpec, options: StepOptions) -> int:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    from eightgig.vram.runtime.autocast import HALF
    from eightgig.vram.runtime.in_backward import StepsInBackward
    from eightgig.vram.tracing.optimizers import make_optimizer
    from eightgig.vram.tracing.workload import skip_initialization

    with skip_initialization():
        made = workload.build()
    module = made.checkpoint(made.module, options.activation_checkpointing).train()
    tracker: Any = MemTracker()
    with FakeTensorMode(allow_non_fake_inputs=True):
        _make_fake(module, HALF.get(options.weights))
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        optimizer = make_optimizer(weights, options)
        batch = made.batch(options.micro_batch)
        tracker.track_external(module, optimizer, batch)
        half = HALF.get(options.precision)
        with tracker, StepsInBackward(optimizer).on() if options.optimizer_in_backward else nullcontext():
            for _ in range(_STEPS):
                tracker.reset_mod_stats()  # it asks for that between steps
                with torch.autocast("cpu", dtype=half) if half else nullcontext():
                    loss = made.loss(module, _as(batch, HALF.get(options.weights)))
                if options.zero_grad == "before_backward":
                    optimizer.zero_grad()
                loss.backward()
                del loss
                if options.clips_gradients:
                    torch.nn.utils.clip_grad_norm_(weights, 1.0, foreach=True)
                if not options.optimizer_in_backward:
                    optimizer.step()
                if options.zero_grad == "after_step" and not options.accumulates:
                    optimizer.zero_grad()
    return int(max(found["Total"] for found in tracker.get_tracker_snapshot("peak").values()))


def _make_fake(module: Any, dtype: Any) -> None:
    """Put tensors without values in the places of a module's own, tied ones staying tied."""
    import torch
    from torch import nn

    made: dict[int, Any] = {}
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    cast = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
                    fake: Any = torch.empty_strided(tensor.shape, tensor.stride(), dtype=cast, device="cpu")
                    is_weight = isinstance(tensor, nn.Parameter)
                    made[id(tensor)] = nn.Parameter(fake, requires_grad=tensor.requires_grad) if is_weight else fake
                held[name] = made[id(tensor)]


def _as(batch: Any, dtype: Any) -> Any:
    from torch import Tensor
    from torch.utils._pytree import tree_map

    def cast(leaf: Any) -> Any:
        return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    return batch if dtype is None else tree_map(cast, batch)


def _main(asked: str) -> None:
    workload, options = json.loads(asked)
    try:
        said: int | str = _peak(WorkloadSpec(**workload), StepOptions(**options))
    except Exception as error:  # noqa: BLE001 - whatever it ends in is counted
        said = type(error).__name__
        print(error, file=sys.stderr)
    print(json.dumps(said))


if __name__ == "__main__":
    _main(sys.argv[1])

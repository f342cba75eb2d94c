"""Several processes on one network: accelerate for DDP, torch's own FSDP2 and pipelining, the same code for one."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from eightgig.core.errors import CheckpointError, ConfigurationError
from eightgig.training.batch_splitter import BatchSplitter
from eightgig.training.distributed.pipelined import PipelinedNetwork
from eightgig.training.distributed.process_group import ProcessGroup
from eightgig.training.distributed.sharding import copy_into, full_copy, gather, reshard
from eightgig.training.distributed.shared_validation import SharedValidation
from eightgig.training.distributed.whole import WholeNetwork, shapes_of
from eightgig.training.loss_scale import gradient_scaler
from eightgig.training.objective import Batch, Objective, is_judged_by_batch
from eightgig.training.parameters import TrainParameters
from eightgig.vram.pipelining.stage import StageModule
from eightgig.vram.plan import MemoryPlan, Precision
from eightgig.vram.runtime.autocast import HALF, autocast_forward
from eightgig.vram.runtime.recompute import blocks_of

_ACCELERATE_PRECISION: dict[Precision, str] = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


class Parallel:
    """How this process takes part in a run.

    accelerate shards with FSDP2 on GPUs alone; torch's own call works on the CPU as well, so that it can be tried
    without a GPU (docs/decisions/0021).

    Attributes:
        accelerator: precision, gradient scaling, and the process group.
        process_group: which of how many processes this is.
        shards: whether the weights are spread over the processes.
        pipelined: this process's stage, where the layers are spread over them.

    Raises:
        ConfigurationError: the recipe and the number of processes do not go together.
    """

    def __init__(self, plan: MemoryPlan, parameters: TrainParameters) -> None:
        distributed = parameters.distributed
        # accelerate keeps its settings in process-wide state; a second run in one process may want another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(
            mixed_precision=_ACCELERATE_PRECISION[plan.precision],
            cpu=plan.device == "cpu",
            kwargs_handlers=[
                # Buffers are exchanged once a step (see `ProcessGroup`), and gradients are not kept a second time.
                DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
                InitProcessGroupKwargs(timeout=timedelta(seconds=distributed.timeout_s)),
            ],
        )
        if self.accelerator.scaler is not None:
            self.accelerator.scaler = gradient_scaler(parameters, self.accelerator.device.type)
        count = self.accelerator.num_processes
        # One process has it whole, whatever its recipe says of several: as the compress stage trains.
        self._cuts = distributed.cuts and count > 1
        self.process_group = ProcessGroup(
            self.accelerator.process_index, count, device=self.accelerator.device, shares_batches=not self._cuts
        )
        self.pipelined: PipelinedNetwork | None = None
        self._distributed, self._stages = distributed, plan.stages
        self.shards = distributed.strategy == "fsdp" and count > 1
        self._precision = plan.precision
        if (self.shards or self._cuts) and plan.precision == "fp16":
            raise ConfigurationError(
                f"train.distributed.strategy: {distributed.strategy} computes in bf16 or fp32, and the plan says fp16: "
                "set plan.precision to bf16, or train.distributed.strategy to ddp"
            )
        if self._cuts and plan.offload:
            raise ConfigurationError(
                f"train.distributed.strategy: {distributed.strategy} does not offload activations: set plan.offload to "
                "never"
            )
        if count > 1 and plan.optimizer_in_backward:
            raise ConfigurationError(
                "an optimizer in the backward pass steps before the processes have exchanged gradients: set "
                "plan.optimizer_in_backward to never"
            )

    def cut(self, module: nn.Module) -> nn.Module:
        """Return this process's stage of a network, where its layers are spread over the processes.

        Args:
            module: whole, on the CPU.

        Raises:
            ConfigurationError: the plan was not made for these processes.
        """
        if not self._cuts:
            return module
        group, stages = self.process_group, [stage.parts for stage in self._stages]
        if len(stages) != group.count:
            raise ConfigurationError(
                f"the plan has {len(stages)} stages, and {group.count} processes train: plan for these processes "
                "(kedro run from the plan stage on)"
            )
        whole = WholeNetwork(module, stages, group)
        stage = StageModule(module, stages[group.index], absent=[name for parts in stages for name in parts])
        self.pipelined = PipelinedNetwork(stage, whole, group, self._distributed.order)
        return stage

    def sharded(self, module: nn.Module) -> nn.Module:
        """Return the module with its weights spread over the processes, where that was asked for."""
        if not self.shards:
            return module
        options: dict[str, Any] = {
            "mesh": init_device_mesh(self.process_group.device.type, (self.process_group.count,)),
            "mp_policy": MixedPrecisionPolicy(param_dtype=HALF.get(self._precision), reduce_dtype=torch.float32),
        }
        for block in blocks_of(module):
            fully_shard(block, **options)
        fully_shard(module, **options)
        return module

    def prepared(self, module: nn.Module, optimizer: Optimizer) -> tuple[Any, Any]:
        """Return module and optimizer as accelerate runs them."""
        if not self.shards:  # FSDP2 casts by itself
            autocast_forward(module, self.accelerator.device.type, self._precision)
        if self.shards or self.pipelined is not None:
            return module, self.accelerator.prepare_optimizer(optimizer)
        amp, self.accelerator.native_amp = self.accelerator.native_amp, False  # its own would give float32 outputs
        try:
            prepared: tuple[Any, Any] = self.accelerator.prepare(module, optimizer)
        finally:
            self.accelerator.native_amp = amp
        return prepared

    def unwrapped(self, module: nn.Module) -> nn.Module:
        """Return the network itself."""
        unwrapped: nn.Module = self.accelerator.unwrap_model(module)
        return unwrapped.network if isinstance(unwrapped, StageModule) else unwrapped

    def whole_weights(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the whole network's weights and buffers, not copied; every process has to call it.

        Of a network whose layers are spread over processes the first one gets them, and the others their own.
        """
        state = module.state_dict()
        if self.pipelined is not None:
            return self.pipelined.whole.weights(state)
        gathered: dict[str, Tensor] = gather(state)
        return gathered

    def copied_weights(self, module: nn.Module) -> dict[str, Tensor]:
        """Return them copied, on the CPU; every process has to call it."""
        state: dict[str, Tensor] = full_copy(module.state_dict(keep_vars=True))  # tied weights are one tensor
        return self.pipelined.whole.weights(state) if self.pipelined is not None else state

    def whole_optimizer(self, module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state of the optimizer of the whole network, likewise."""
        if self.pipelined is not None:
            return self.pipelined.whole.optimizer_state(module, optimizer)
        gathered: dict[str, Any] = gather(optimizer.state_dict())
        return gathered

    def load_optimizer(self, module: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Let the optimizer go on from a state of the whole network's; each process takes its part."""
        if self.pipelined is not None:
            optimizer.load_state_dict(self.pipelined.whole.own_optimizer_state(module, optimizer, state))
        else:
            optimizer.load_state_dict(reshard(state, optimizer))

    def validation_of(self, batches: DataLoader[Batch], objective: Objective) -> SharedValidation:
        """Return the validation that this process takes part in."""
        is_shared = self.process_group.num_shares > 1 and is_judged_by_batch(objective)
        if self.shards and len(batches) < self.process_group.count:
            is_shared = False  # a process without a batch could not take part in what FSDP2 gathers
        return SharedValidation(batches, self.process_group, is_shared=is_shared, in_step=self.shards)

    def evaluate(
        self,
        objective: Objective,
        module: nn.Module,
        validation: SharedValidation,
        batches: Iterable[Batch],
        splitter: BatchSplitter,
    ) -> dict[str, float]:
        """Return what the objective finds, the same in every process.

        Args:
            objective: judges.
            module: as it runs.
            validation: of this process.
            batches: its batches, as they are loaded.
            splitter: cuts them to what fits.
        """
        if self.pipelined is not None:
            return self.pipelined.evaluate(objective, splitter(batches))
        if validation.is_shared:
            return validation.figures(objective, module, batches, splitter)
        return objective.evaluate(module, splitter(batches), self.accelerator.device)

    @contextmanager
    def gradient_sync(self, module: nn.Module, *, last: bool) -> Iterator[None]:
        """Exchange gradients in this block if it is the last of its window, not once a micro-batch."""
        if isinstance(module, FSDPModule):
            module.set_requires_gradient_sync(last)
            yield
            return
        with nullcontext() if last else self.accelerator.no_sync(module):
            yield

    def load_weights(self, module: nn.Module, weights: dict[str, Tensor]) -> None:
        """Copy whole weights into the module, each process its part.

        Raises:
            CheckpointError: they are of another network.
        """
        own = module.state_dict()
        whole = self.pipelined.whole.shapes if self.pipelined is not None else shapes_of(own)
        found = shapes_of(weights)
        if strange := {name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name)}:
            raise CheckpointError(
                f"the checkpoint is of another network: {', '.join(sorted(strange)[:3])} differ"
                f"{' and more' if len(strange) > 3 else ''}"
            )
        copy_into(own, weights)

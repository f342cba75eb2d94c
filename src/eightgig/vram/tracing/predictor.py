"""Predicts what steps take, without a GPU and without touching one: traces are made in a child process."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from pydantic import JsonValue

from eightgig.core.addresses import at_address
from eightgig.core.errors import EightgigError
from eightgig.vram.allocator.events import AllocationTrace, OpCost
from eightgig.vram.plan import Checkpointing, Precision
from eightgig.vram.tracing.child import ChildProcess
from eightgig.vram.tracing.options import StepOptions, ZeroGrad
from eightgig.vram.tracing.prediction import Prediction, predict_from
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.stage_facts import NetworkFacts
from eightgig.vram.tracing.timeline import with_validation
from eightgig.vram.tracing.weights import Weight, read_weights
from eightgig.vram.tracing.workspace import Calibration, Generation, load_calibration, with_workspace

_FACTS = "eightgig.vram.tracing.stage_facts:read_facts"


class Predictor:
    """Traces steps, and remembers every trace.

    Use it as a context manager: `with Predictor() as predictor: predictor.predict(workload, options)`.

    Args:
        calibration: constants of workspace memory; None takes the packaged ones.
        in_process: whether steps are traced in this process, to look inside with a debugger (docs/memory.md, "How to
            look inside"), instead of in a child. What goes wrong is then raised as it is; and a process in which a step
            was traced should not train.
    """

    def __init__(self, calibration: Calibration | None = None, *, in_process: bool = False) -> None:
        self._calibration = calibration or load_calibration()
        self._child = None if in_process else ChildProcess()
        self._traces: dict[str, AllocationTrace | EightgigError] = {}
        self._predictions: dict[tuple[str, str, int | None], Prediction] = {}
        self._facts: dict[tuple[str, int, Checkpointing], NetworkFacts] = {}
        self._weights: dict[tuple[str, bool], tuple[Weight, ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def predict(
        self,
        workload: WorkloadSpec,
        options: StepOptions,
        *,
        generation: Generation = "ampere",
        usable_bytes: int | None = None,
    ) -> Prediction:
        """Return what a step takes on a GPU of a generation; `none` leaves out what only GPUs take.

        Args:
            workload: the network, its loss and its batches.
            options: how a step is done.
            generation: of the GPU.
            usable_bytes: what a card has for tensors, for what is reserved of it without a cap; None where no card is
                meant.

        Raises:
            ConfigurationError: the workload cannot be built.
            PredictionError: the step cannot be traced; the message ends with what the child process said.
        """
        key = (_key(workload, options), generation, usable_bytes)
        if key not in self._predictions:
            trace = with_workspace(self.trace(workload, options), self._calibration.of(generation))
            self._predictions[key] = predict_from(trace, options.phase, usable_bytes)
        return self._predictions[key]

    def predict_course(
        self, workload: WorkloadSpec, options: StepOptions, eval_batch: int, *, generation: Generation = "ampere"
    ) -> Prediction:
        """Return what a run takes that trains, validates and trains on, with what stays reserved between.

        Args:
            workload: the network, its loss and its batches.
            options: how a training step is done.
            eval_batch: samples at a time of the validation.
            generation: of the GPU.

        Raises:
            ConfigurationError, PredictionError: as for `predict`.
        """
        validate = self.trace(workload, options.without_gradients(eval_batch))
        course = with_validation(self.trace(workload, options), validate)
        return predict_from(with_workspace(course, self._calibration.of(generation)), "train")

    def costs(self, workload: WorkloadSpec, options: StepOptions) -> tuple[OpCost, ...]:
        """Return what each op of one micro-batch and of the optimizer's step computes and moves."""
        return self.trace(workload, options).costs

    def weights(self, workload: WorkloadSpec, *, looks_at_loss: bool = False) -> tuple[Weight, ...]:
        """Return the weights of a network, read without tracing a step; none where that cannot be done.

        Args:
            workload: that has the network.
            looks_at_loss: whether it is found out which of them the loss reaches, which takes as long as a forward
                pass of shapes.
        """
        key = (workload.model_dump_json(), looks_at_loss)
        if key not in self._weights:
            read = read_weights if self._child is None else self._child.weights
            self._weights[key] = read(workload, looks_at_loss=looks_at_loss)
        return self._weights[key]

    def facts(self, workload: WorkloadSpec, micro_batch: int, checkpointing: Checkpointing) -> NetworkFacts:
        """Return the parts of a network, what each holds, and where it may be cut.

        Raises:
            ConfigurationError: the workload cannot be built.
            PredictionError: it cannot be cut into stages.
        """
        key = (workload.model_dump_json(), micro_batch, checkpointing)
        if key not in self._facts:
            asked = {"workload": workload, "micro_batch": micro_batch, "checkpointing": checkpointing}
            self._facts[key] = self.call(_FACTS, **asked)
        return self._facts[key]

    def call(self, address: str, **arguments: Any) -> Any:
        """Return what the function at `package.module:name` returns in the process that traces.

        What is imported for it is there when a step is traced, and nothing of it is imported here.
        """
        return at_address(address)(**arguments) if self._child is None else self._child.call(address, arguments)

    def context_bytes(self, generation: Generation) -> int:
        """Return what the CUDA context takes of a card of a generation."""
        return int(self._calibration.of(generation).context_bytes.value)

    def trace(self, workload: WorkloadSpec, options: StepOptions) -> AllocationTrace:
        """Return the trace of a step, without workspace memory.

        Raises:
            ConfigurationError, PredictionError: as for `predict`.
        """
        key = _key(workload, options)
        if key not in self._traces:
            self._traces[key] = self._made(workload, options)
        traced = self._traces[key]
        if isinstance(traced, EightgigError):
            raise traced
        return traced

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.close()

    def _made(self, workload: WorkloadSpec, options: StepOptions) -> AllocationTrace | EightgigError:
        try:
            if self._child is not None:
                return self._child.trace(workload, options)
            from eightgig.vram.tracing.steps import trace_spec

            return trace_spec(workload, options)
        except EightgigError as error:
            return error


def predict_memory(
    network: str | WorkloadSpec | Callable[..., Any],
    micro_batch: int,
    *,
    precision: Precision = "fp32",
    weights: Precision = "fp32",
    optimizer: str = "adamw",
    optimizer_arguments: Mapping[str, JsonValue] | None = None,
    zero_grad: ZeroGrad = "after_step",
    activation_checkpointing: Checkpointing = "none",
    eval_batch: int | None = None,
    generation: Generation = "ampere",
    in_process: bool = False,
) -> Prediction:
    """Return what one training step of a network takes of a card, traced without a GPU, in bytes.

    Examples:
        mymodel.py lies in the folder that the program runs in:

            def make():
                module = torch.nn.Linear(1024, 10)
                return module, lambda module, batch: module(batch).mean(), lambda n: torch.zeros(n, 1024)

        >>> prediction = predict_memory("mymodel:make", 16, precision="fp16")
        >>> prediction.at_peak["parameters"]  # 1024 x 10 weights and 10 biases in float32, in blocks of 512 bytes
        41472
        >>> prediction.min_memory_limit < 8 * 2**30  # fits 8 GiB, beside the CUDA context
        True

    Args:
        network: the import path of a function, `package.module:function`, that gives the network, its loss and a
            maker of batches; `WorkloadSpec` gives it arguments. Or the function itself, of a notebook for instance.
        micro_batch: samples that pass through the network at a time.
        precision: of the computation; fp16 brings a gradient scaler.
        weights: what the network is turned into first, as `module.to(torch.bfloat16)` does; fp32 leaves it as it is
            built.
        optimizer: `adamw`, `adam`, `sgd` (with momentum) or `adamw8bit` as recipes have them; a class of `torch.optim`
            by its name, with torch's defaults; one of your own as `package.module:Class`; or `none`.
        optimizer_arguments: of its constructor, beside the weights.
        zero_grad: when the loop drops gradients: `before_backward` has them beside the activations.
        activation_checkpointing: what is computed again in the backward pass instead of kept.
        eval_batch: samples at a time of a validation after which training goes on: what is reserved stays reserved, so
            that the two together may take more than either; None has none.
        generation: of the GPU, for the workspace memory of its kernels.
        in_process: traces here, where a debugger can look on, instead of in a child process.

    Raises:
        ConfigurationError: there is no such function, or it does not make a workload.
        PredictionError: the step cannot be traced.
    """
    options = StepOptions(
        micro_batch=micro_batch,
        precision=precision,
        weights=weights,
        optimizer=optimizer,
        optimizer_arguments=dict(optimizer_arguments or {}),
        zero_grad=zero_grad,
        activation_checkpointing=activation_checkpointing,
    )
    with Predictor(in_process=in_process) as predictor:
        if eval_batch is not None:
            return predictor.predict_course(WorkloadSpec.of(network), options, eval_batch, generation=generation)
        return predictor.predict(WorkloadSpec.of(network), options, generation=generation)


def _key(workload: WorkloadSpec, options: StepOptions) -> str:
    return workload.model_dump_json() + options.model_dump_json()

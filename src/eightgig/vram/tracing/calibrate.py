"""Measures the constants of workspace memory on the card at hand.

`eightgig calibrate --out FILE`. The file is complete: what was measured for the card's
generation, and all else as it was. Point `plan.calibration` at it. What was measured, op by op, is written beside it
(`FILE.measured.json`), with what the new constants say of each.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from eightgig.core.errors import ConfigurationError
from eightgig.core.files import write_text
from eightgig.core.records import Record
from eightgig.core.units import format_bytes
from eightgig.vram.allocator.kernels import AttentionKernel, ConvolutionKernel
from eightgig.vram.tracing.card_probe import CardMeasurements, KernelWorkspace, Layout
from eightgig.vram.tracing.workspace import (
    PACKAGED,
    Calibration,
    Constant,
    Generation,
    WorkspaceMemory,
    load_calibration,
    workspace_bytes,
)

# Of the compute capability (NVIDIA, CUDA C++ Programming Guide, Compute Capabilities).
_TURING = (7, 5)  # shares its major number with Volta
_GENERATION_OF_MAJOR: dict[int, Generation] = {8: "ampere", 9: "hopper", 10: "blackwell", 12: "blackwell"}
_ADA = (8, 9)  # shares its major number with Ampere
_SECONDS_AT_MOST = 300  # far above what some hundred kernels take; a card that others use may never get to them
_STAGED = ("conv_forward_staging", "conv_backward_staging", "conv_pointwise_staging", "conv_grouped_staging")
# A constant holds for all precisions: it is that of what recipes run, where that could be measured.
_AS_RECIPES_RUN = ("fp16", "bf16", "fp32")
_LAST_LINES = 6  # of what the measuring process said: the error of a traceback, and the call that raised it


class Checked(Record):
    """One kernel on the card, beside what the constants predict for it: the larger block where it takes two."""

    measured: KernelWorkspace
    predicted_bytes: int


class Staging(Record):
    """What convolutions of one sort took, as multiples of the bytes of their input and output together.

    Attributes:
        constant: the constant that workspace memory has for them; None where it has none, for they are taken to need
            nothing (channels last, narrow groups, forward passes that stage nothing).
    """

    kind: str
    constant: str | None
    precision: str
    layout: Layout
    count: int
    least: float
    median: float
    most: float


class Details(Record):
    """What a calibration was computed from.

    Attributes:
        staging: convolutions by constant, precision and layout; the constants hold one figure for all precisions.
    """

    measurements: CardMeasurements
    checked: tuple[Checked, ...]
    staging: tuple[Staging, ...] = ()


def generation_of(compute_capability: tuple[int, int], card: str) -> Generation:
    """Return the generation whose constants a card's measurements replace.

    Raises:
        ConfigurationError: no constants are kept for it.
    """
    exactly: dict[tuple[int, int], Generation] = {_TURING: "turing", _ADA: "ada"}
    major = compute_capability[0]
    if compute_capability not in exactly and major not in _GENERATION_OF_MAJOR:
        raise ConfigurationError(
            f"the {card} has compute capability {major}.{compute_capability[1]}; constants are kept for Turing, "
            "Ampere, Ada, Hopper and Blackwell (7.5 and above). Predictions for it use those of Ampere."
        )
    return exactly[compute_capability] if compute_capability in exactly else _GENERATION_OF_MAJOR[major]


def calibrated(base: Calibration, measured: CardMeasurements) -> Calibration:
    """Return `base` with the constants of the card's generation replaced by what was measured.

    What could not be measured stays as it was.

    Raises:
        ConfigurationError: no constants are kept for the card's generation.
    """
    generation = generation_of(measured.compute_capability, measured.card)
    old = base.of(generation)
    values = {name: getattr(old, name) for name in WorkspaceMemory.model_fields}
    for name, figure in _figures(measured).items():
        source = f"{_source(measured)}: {figure.source}"
        values[name] = Constant(value=figure.value, unit=values[name].unit, source=source)
    return Calibration(generations={**base.generations, generation: WorkspaceMemory(**values)})


def staging_of(measured: CardMeasurements) -> tuple[Staging, ...]:
    """Return what convolutions took by kind, constant, precision and layout: also what no constant is computed from."""
    groups: dict[tuple[str, str | None, str, Layout], list[float]] = {}
    for one in measured.workspaces:
        if isinstance(one.kernel, ConvolutionKernel):
            key = (one.kernel.kind, _constant_of(one.kernel), one.precision, one.layout)
            groups.setdefault(key, []).append(_staging_ratio(one.kernel, one.num_bytes))
    return tuple(
        Staging(
            kind=kind,
            constant=constant,
            precision=precision,
            layout=layout,
            count=len(ratios),
            least=round(min(ratios), 3),
            median=round(statistics.median(ratios), 3),
            most=round(max(ratios), 3),
        )
        for (kind, constant, precision, layout), ratios in groups.items()
    )


def check(measured: CardMeasurements, workspace: WorkspaceMemory) -> tuple[Checked, ...]:
    """Return each kernel that was measured beside the bytes that the constants predict."""
    return tuple(
        Checked(measured=one, predicted_bytes=int(max(workspace_bytes(one.kernel, workspace))))
        for one in measured.workspaces
    )


def measure() -> CardMeasurements:
    """Measure the card at hand, in a process of its own.

    Raises:
        ConfigurationError: there is no GPU, or the measuring process failed.
    """
    import torch

    if not torch.cuda.is_available():
        raise ConfigurationError(
            "workspace memory can only be measured on an NVIDIA GPU, and torch finds none "
            f"(torch {torch.__version__}, CUDA build {torch.version.cuda or 'none'}). Nothing was written. Without "
            f"it predictions use the packaged constants ({PACKAGED.name}), each of which names its source; run `make "
            "calibrate` on the machine with the card, and point plan.calibration at the file that it writes."
        )
    return CardMeasurements.model_validate_json(_probed())


def write_calibration(out: Path, base: Calibration, measured: CardMeasurements) -> Calibration:
    """Write the calibration and, beside it, what it was computed from; give the calibration."""
    made = calibrated(base, measured)
    workspace = made.of(generation_of(measured.compute_capability, measured.card))
    write_text(out, made.model_dump_json(indent=2) + "\n")
    details = Details(measurements=measured, checked=check(measured, workspace), staging=staging_of(measured))
    write_text(out.with_suffix(".measured.json"), details.model_dump_json(indent=1) + "\n")
    return made


def calibrate(out: Path, base_path: Path | None) -> list[str]:
    """Measure the card at hand and write its calibration to `out`; give lines that say what was found.

    Args:
        out: the file to write.
        base_path: a calibration, for what is not measured; None takes the packaged one.

    Raises:
        ConfigurationError: there is nothing to measure on, or the measuring process failed; nothing was written.
    """
    base = load_calibration(base_path)
    measured = measure()
    return _lines(out, base, write_calibration(out, base, measured), measured)


def _probed() -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "eightgig.vram.tracing.card_probe"],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS_AT_MOST,
            env=_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"the card was not measured within {_SECONDS_AT_MOST} s, nothing was written: is another program using it?"
        ) from error
    except subprocess.CalledProcessError as error:
        said = " / ".join(line.strip() for line in error.stderr.strip().splitlines()[-_LAST_LINES:])
        raise ConfigurationError(f"the card could not be measured, nothing was written: {said}") from error
    return done.stdout.strip().splitlines()[-1]


class _Figure(NamedTuple):
    value: float
    source: str


def _figures(measured: CardMeasurements) -> dict[str, _Figure]:
    """Return each constant that was measured, with how it was computed."""
    figures: dict[str, _Figure] = {}
    if measured.context_bytes is not None:
        how = "what the driver says the process used, less what torch's allocator held, with kernels loaded"
        figures["context_bytes"] = _Figure(measured.context_bytes, how)
    if measured.cublas_workspace_bytes > 0:
        how = "taken by the first matrix product"
        figures["cublas_workspace_bytes"] = _Figure(measured.cublas_workspace_bytes, how)
    for name in _STAGED:
        figures |= _staging(name, measured.workspaces)
    return figures | _accumulator(measured.workspaces)


def _constant_of(kernel: ConvolutionKernel) -> str | None:
    """Return the constant that a convolution's workspace is charged with, asked of it: so both stay of one mind."""
    return next((name for name in _STAGED if workspace_bytes(kernel, _nothing_but(name))[0] >= 1), None)


@cache
def _nothing_but(name: str) -> WorkspaceMemory:
    """Return constants in which only one is not zero."""
    some = next(iter(load_calibration().generations.values()))
    values = {each: constant.model_copy(update={"value": float(each == name)}) for each, constant in some}
    return WorkspaceMemory(**values)


def _staging_ratio(kernel: ConvolutionKernel, num_bytes: int) -> float:
    return num_bytes / (kernel.input_bytes + kernel.output_bytes)


def _staging(name: str, workspaces: Sequence[KernelWorkspace]) -> dict[str, _Figure]:
    """The median, for one convolution with another algorithm shall not decide for all."""
    for precision in _AS_RECIPES_RUN:
        ratios = sorted(
            _staging_ratio(one.kernel, one.num_bytes)
            for one in workspaces
            if one.precision == precision
            and isinstance(one.kernel, ConvolutionKernel)
            and _constant_of(one.kernel) == name
        )
        if ratios:
            how = f"median of {len(ratios)} {precision} convolutions, {ratios[0]:.2f} to {ratios[-1]:.2f}"
            return {name: _Figure(round(statistics.median(ratios), 3), how)}
    return {}


def _accumulator(workspaces: Sequence[KernelWorkspace]) -> dict[str, _Figure]:
    shares = [
        one.num_bytes / (4 * one.kernel.batch * one.kernel.heads * one.kernel.tokens * one.kernel.head_dim)
        for one in workspaces
        if isinstance(one.kernel, AttentionKernel)
        and (one.kernel.kind, one.precision) == ("flash_attention_backward", "fp16")
    ]
    if not shares:
        return {}
    share = statistics.median(shares)
    how = f"flash attention's backward pass took {share:.2f} times the query in float32, median of {len(shares)}"
    # With an accumulator it is 1 and more, without next to nothing.
    return {"attention_backward_accumulator": _Figure(1 if share >= 0.5 else 0, how)}


def _source(measured: CardMeasurements) -> str:
    return f"measured on {measured.card}, driver {measured.driver}, torch {measured.torch}, {measured.date}"


def _environment() -> dict[str, str]:
    # The allocator's and cuBLAS's own settings would be measured instead of what a run gets by default.
    dropped = {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _lines(out: Path, base: Calibration, made: Calibration, measured: CardMeasurements) -> list[str]:
    generation = generation_of(measured.compute_capability, measured.card)
    old, new = base.of(generation), made.of(generation)
    lines = [f"{measured.card}, generation {generation}:"]
    for name in WorkspaceMemory.model_fields:
        before, after = getattr(old, name), getattr(new, name)
        state = "as before, not measured" if before == after else f"was {_figure(before)}"
        lines.append(f"  {name} {_figure(after)} ({state})")
    lines += [f"  not measured: {note}" for note in measured.notes]
    return [*lines, f"written to {out}: point plan.calibration at it"]


def _figure(constant: Constant) -> str:
    return format_bytes(constant.value) if constant.unit == "bytes" else f"{constant.value:g}"

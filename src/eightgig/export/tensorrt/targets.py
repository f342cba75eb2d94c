"""Which cards a toolkit can build engines for."""

from eightgig.core.errors import ExportError
from eightgig.export.tensorrt.machine import EngineMachine, describe_capability
from eightgig.export.tensorrt.records import EngineRequest
from eightgig.export.tensorrt.toolkit import Toolkit

_OTHER_WAY = "with TensorRT for RTX (pip install tensorrt-rtx) for a named compute capability"


def target_of(request: EngineRequest, toolkit: Toolkit, machine: EngineMachine) -> tuple[int, int]:
    """Return the compute capability to build for.

    TensorRT measures kernels on the card itself; TensorRT for RTX needs no card, but knows only some.

    Raises:
        ExportError: this toolkit cannot build for it here.
    """
    here = machine.compute_capability
    target = here if request.compute_capability == "current" else request.compute_capability
    if target is None or (here is None and not toolkit.is_rtx):
        raise ExportError(
            f"{toolkit.title}: wanted to build for the card in this machine, found no GPU that torch can use. "
            f"Build where the card is, or {_OTHER_WAY}."
        )
    return _supported(target, toolkit, machine)


def member_of(capability: tuple[int, int]) -> str:
    """Return a capability's name in TensorRT for RTX's `ComputeCapability`."""
    return f"SM{capability[0]}{capability[1]}"


def _supported(target: tuple[int, int], toolkit: Toolkit, machine: EngineMachine) -> tuple[int, int]:
    if not toolkit.is_rtx and target != machine.compute_capability:
        raise ExportError(
            f"TensorRT builds for the card in this machine, {machine.gpu}, and not for {describe_capability(target)}. "
            f"Build where that card is, or {_OTHER_WAY}."
        )
    if toolkit.is_rtx and member_of(target) not in _members(toolkit):
        raise ExportError(
            f"TensorRT for RTX {toolkit.version} builds for {', '.join(_members(toolkit))}, not for "
            f"{describe_capability(target)}. Use torch.compile there, or TensorRT."
        )
    return target


def _members(toolkit: Toolkit) -> list[str]:
    return [name for name in toolkit.module.ComputeCapability.__members__ if name.startswith("SM")]

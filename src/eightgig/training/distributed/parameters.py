"""What may be asked of a run in several processes."""

from typing import ClassVar, Literal

from pydantic import Field

from eightgig.core.records import Record


class DistributedParameters(Record):
    """Several processes on one network, each with a GPU of its own (or on the CPU, to try it).

    Attributes:
        nproc_per_node: processes on each machine; 1 trains in the process that runs the pipeline.
        nodes: machines. The pipeline runs on one of them; the others are given the command that it logs.
        rdzv_endpoint: `host:port` of the machine that runs the pipeline, as the others reach it; needed with several.
        strategy: `ddp` gives each process the whole network; `fsdp` spreads weights, gradients and optimizer state.
        timeout_s: seconds without an answer after which a process is taken for dead, and the run ends.
    """

    renamed: ClassVar = {"processes": "nproc_per_node", "rendezvous": "rdzv_endpoint"}

    nproc_per_node: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    rdzv_endpoint: str | None = None
    strategy: Literal["ddp", "fsdp"] = "ddp"
    timeout_s: float = Field(default=30.0, gt=0)

    @property
    def count(self) -> int:
        """Processes on all machines together."""
        return self.nproc_per_node * self.nodes

    @property
    def spreads(self) -> bool:
        """Whether weights, gradients and optimizer state are spread over the processes."""
        return self.count > 1 and self.strategy == "fsdp"

"""What may be asked of a run in several processes."""

from typing import ClassVar, Literal

from pydantic import Field

from eightgig.core.records import Record

Strategy = Literal["ddp", "fsdp", "pipeline", "model"]
ScheduleName = Literal["1f1b", "gpipe", "one_at_a_time"]


class DistributedParameters(Record):
    """Several processes on one network, each with a GPU of its own (or on the CPU, to try it).

    Attributes:
        nproc_per_node: processes on each machine; 1 trains in the process that runs the pipeline.
        nodes: machines. The pipeline runs on one of them; the others are given the command that it logs.
        rdzv_endpoint: `host:port` of the machine that runs the pipeline, as the others reach it; needed with several.
        strategy: `ddp` gives each process the whole network; `fsdp` spreads weights, gradients and optimizer state;
            `pipeline` gives each process some of its layers, through which the micro-batches of a step pass one after
            the other; `model` likewise, with one micro-batch on its way at a time.
        schedule: of `pipeline`: `1f1b` holds the activations of as many micro-batches as there are stages, `gpipe`
            those of all.
        budgets_gib: of each process's card, where they differ: `[8, 12]`; empty takes plan.budget_gib for each.
        pcie: the slots that the cards sit in, as generation and lanes: `3 x8`; for what is predicted of the time.
        timeout_s: seconds without an answer after which a process is taken for dead, and the run ends.
    """

    renamed: ClassVar = {"processes": "nproc_per_node", "rendezvous": "rdzv_endpoint"}

    nproc_per_node: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    rdzv_endpoint: str | None = None
    strategy: Strategy = "ddp"
    schedule: Literal["1f1b", "gpipe"] = "1f1b"
    budgets_gib: tuple[float, ...] = ()
    pcie: str | None = Field(default=None, pattern=r"^[1-6] x(1|2|4|8|16)$")
    timeout_s: float = Field(default=30.0, gt=0)

    @property
    def count(self) -> int:
        """Processes on all machines together."""
        return self.nproc_per_node * self.nodes

    @property
    def spreads(self) -> bool:
        """Whether weights, gradients and optimizer state are spread over the processes."""
        return self.count > 1 and self.strategy == "fsdp"

    @property
    def cuts(self) -> bool:
        """Whether each process has some layers of the network."""
        return self.count > 1 and self.strategy in ("pipeline", "model")

    @property
    def num_shares(self) -> int:
        """Among how many processes the samples of a step are shared out: stages each see all of them."""
        return 1 if self.cuts else self.count

    @property
    def order(self) -> ScheduleName:
        """In which order micro-batches pass through layers on several cards."""
        return "one_at_a_time" if self.strategy == "model" else self.schedule

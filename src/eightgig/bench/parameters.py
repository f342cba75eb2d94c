"""What the user may choose about measuring; imports nothing heavy, so that Kedro reads it fast."""

from typing import Annotated

from pydantic import Field

from eightgig.core.records import Record


class LatencyParameters(Record):
    """How long latency is measured.

    Attributes:
        batch_sizes: each is measured; the first is the one that tables call latency, the last throughput.
        warmup: untimed calls of each runner at each batch size before all others.
        rounds: turns each runner gets; fewer when `seconds` are over, but at least 3.
        calls_per_turn: timed calls in one turn.
        seconds: longest time for one batch size: of all runners on the CPU together, and of each on a GPU, which takes
            turns with the reference at the first batch size and is alone at the others.
    """

    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 16), min_length=1)
    warmup: int = Field(default=3, ge=0)
    rounds: int = Field(default=30, ge=1)
    calls_per_turn: int = Field(default=3, ge=1)
    seconds: float = Field(default=15.0, gt=0)


class GateParameters(Record):
    """What a variant must keep to be recommended.

    Attributes:
        max_drop: allowed loss of the score against torch in float32, as a share (0.005 is half a point).
        parity_fp32: largest allowed difference of any probability where all is computed in float32.
        parity_reduced: the same where anything is rounded (fp16, bf16, int8).
        min_speedup: how many times faster than the best simpler variant one must be to be worth its trouble.
    """

    max_drop: float = Field(default=0.005, ge=0, le=1)
    parity_fp32: float = Field(default=1e-4, gt=0)
    parity_reduced: float = Field(default=1e-2, gt=0)
    min_speedup: float = Field(default=1.05, ge=1)


class BenchmarkParameters(Record):
    """How variants are compared.

    Attributes:
        batch_size: images at a time when accuracy is measured.
        num_images: test images that every variant answers, spread over the split; the headline figures use all.
        torch_compile: whether torch.compile is measured too, which compiles for a minute or more.
        min_speedup: how many times faster than the best simpler form one must be to be recommended instead.
        latency: how speed is measured.
    """

    batch_size: int = Field(default=32, ge=1)
    num_images: int = Field(default=2000, ge=1)
    torch_compile: bool = False
    min_speedup: float = Field(default=1.05, ge=1)
    latency: LatencyParameters = LatencyParameters()

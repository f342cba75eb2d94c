"""What a benchmark finds; imports nothing heavy, so that Kedro reads it fast."""

from pydantic import Field

from eightgig.core.records import Record


class ClassRow(Record):
    """One class of a ClassificationReport; the figures are None where no image of the class was there.

    Attributes:
        name: the class.
        images: how many were evaluated.
        precision: share of the images given this class that are of it; 0 when none was given it.
        recall: share of its images that were given it.
        f1: their harmonic mean.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None


class ClassificationReport(Record):
    """How right a classifier is. All shares are 0 to 1.

    Attributes:
        num_images: evaluated.
        accuracy: share of images whose most probable class is right.
        top5_accuracy: share whose right class is among the `top_k` most probable.
        top_k: 5, or the number of classes where there are fewer (then top5_accuracy is 1 by definition).
        macro_f1: mean F1 of the classes that appear in the labels or in the predictions.
        loss: mean negative log-likelihood, nats.
        expected_calibration_error: mean gap between confidence and accuracy, 15 bins.
        per_class: a row a class, in the classes' order.
        absent_classes: those without an image.
    """

    num_images: int
    accuracy: float
    top5_accuracy: float
    top_k: int
    macro_f1: float
    loss: float
    expected_calibration_error: float
    per_class: tuple[ClassRow, ...]
    absent_classes: tuple[str, ...]


class VariantRow(Record):
    """One row of the table of variants; one that cannot run has its reason as status and None for every figure.

    Attributes:
        variant: its name.
        runtime: what runs it.
        precision: as found in the network or file.
        computes_in: the precision that really ran; a CPU without fp16 kernels computes an fp16 file in fp32.
        device: where it ran.
        status: `ok`, or why there are no figures and what to do.
        score: 0 to 1, on the evaluated images: what the task judges by.
        score_name: what it is, for example `accuracy`.
        quality: all that the task tells, by name, 0 to 1; the score is its first.
        latency_p50_ms: one call of the first batch size, numpy in to numpy out.
        latency_p95_ms: the same.
        latency_p99_ms: the same.
        end_to_end_ms: median time from one stored image to its answer: decoding, preparing, running, reading.
        throughput_samples_per_second: at the last batch size.
        memory_mib: by which memory grew from before it was opened until it had answered the largest batch.
        size_mib: of its file.
        speedup_vs_torch: the reference's latency by this one's.
        parity_max_abs_diff: largest difference of any probability from the reference's.
        passed: whether it kept parity or the accuracy gate; None when it did not run.
        gate: which of them, and by how much.
        recommended: the one to use on its device.
        note: what a reader should know; empty when nothing.
    """

    variant: str
    runtime: str
    precision: str
    computes_in: str = ""
    device: str
    status: str = "ok"
    score: float | None = None
    score_name: str = "score"
    quality: dict[str, float] = Field(default_factory=dict)
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    end_to_end_ms: float | None = None
    throughput_samples_per_second: float | None = None
    memory_mib: float | None = None
    size_mib: float | None = None
    speedup_vs_torch: float | None = None
    parity_max_abs_diff: float | None = None
    passed: bool | None = None
    gate: str = ""
    recommended: bool = False
    note: str = ""


class LatencyRow(Record):
    """How fast one variant is at one batch size (see `eightgig.bench.latency.LatencyReport`)."""

    variant: str
    batch_size: int
    num_runs: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    min_ms: float
    throughput_samples_per_second: float

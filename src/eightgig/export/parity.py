"""Proof that an exported network answers as the one it was made from."""

from collections.abc import Iterable

import numpy as np

from eightgig.core.errors import ExportError
from eightgig.core.records import Record
from eightgig.export.runners import Feeds, Logits, Runner, softmax


class ParityReport(Record):
    """How far a candidate is from its reference on the same real inputs.

    Attributes:
        reference: name and precision of the runner that is right by definition.
        candidate: name and precision of the runner that is compared.
        num_inputs: images compared.
        max_abs_diff_probabilities: largest difference of any probability, 0 to 1.
        max_abs_diff_logits: largest difference of any logit.
        agreement: share of images with the same first class, 0 to 1.
        tolerance: allowed difference of probabilities; the one that it would have needed is the difference itself.
        passed: whether it was kept.
        margin: tolerance less the difference; negative when it failed.
    """

    reference: str
    candidate: str
    num_inputs: int
    max_abs_diff_probabilities: float
    max_abs_diff_logits: float
    agreement: float
    tolerance: float
    passed: bool
    margin: float


def check_parity(
    reference: Runner, candidate: Runner, batches: Iterable[Feeds], *, tolerance: float, output: str = "logits"
) -> ParityReport:
    """Give the comparison of two open runners on batches of real inputs, by the logits_NK that they give as `output`.

    Raises:
        ExportError: no input, a NaN, or outputs of different shapes.
    """
    pairs = [_both(reference, candidate, batch, output) for batch in batches]
    if not pairs:
        raise ExportError("parity wants real inputs, found none")
    logits = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
    difference = float(np.abs(softmax(logits[0]) - softmax(logits[1])).max())
    return ParityReport(
        reference=f"{reference.name} {reference.precision}",
        candidate=f"{candidate.name} {candidate.precision}",
        num_inputs=len(logits[0]),
        max_abs_diff_probabilities=difference,
        max_abs_diff_logits=float(np.abs(logits[0] - logits[1]).max()),
        agreement=float((logits[0].argmax(axis=1) == logits[1].argmax(axis=1)).mean()),
        tolerance=tolerance,
        passed=difference <= tolerance,
        margin=tolerance - difference,
    )


def _both(reference: Runner, candidate: Runner, feeds: Feeds, output: str) -> tuple[Logits, Logits]:
    wanted, found = reference.run(feeds)[output], candidate.run(feeds)[output]
    if wanted.shape != found.shape:
        raise ExportError(f"{candidate.name}: wanted {output} of shape {wanted.shape}, found {found.shape}")
    for runner, logits in ((reference, wanted), (candidate, found)):
        if not np.isfinite(logits).all():
            raise ExportError(f"{runner.name}: wanted finite {output}, found NaN or infinity")
    return wanted, found

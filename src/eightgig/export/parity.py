"""Proof that an exported network answers as the one it was made from."""

from collections.abc import Iterable

import numpy as np

from eightgig.core.errors import ExportError
from eightgig.core.records import Record
from eightgig.export.evaluator import Evaluator
from eightgig.export.runners import Arrays, Feeds, Runner


class ParityReport(Record):
    """How far a candidate is from its reference on the same real inputs.

    Attributes:
        reference: name and precision of the runner that is right by definition.
        candidate: name and precision of the runner that is compared.
        num_inputs: images compared.
        max_abs_diff_probabilities: largest difference of any probability, 0 to 1 (see `Comparison.difference`).
        max_abs_diff_outputs: largest difference of any value that the network gives.
        agreement: share of images with the same answer, 0 to 1.
        min_iou: least overlap of two boxes that are the same; None where there are no boxes.
        tolerance: allowed difference of probabilities; the one that it would have needed is the difference itself.
        passed: whether it was kept.
        margin: tolerance less the difference; negative when it failed.
    """

    reference: str
    candidate: str
    num_inputs: int
    max_abs_diff_probabilities: float
    max_abs_diff_outputs: float
    agreement: float
    min_iou: float | None = None
    tolerance: float
    passed: bool
    margin: float


class ParityTable(Record):
    """One parity report for each exported file, by variant."""

    reports: dict[str, ParityReport]


def check_parity(
    reference: Runner, candidate: Runner, batches: Iterable[Feeds], *, tolerance: float, evaluator: Evaluator
) -> ParityReport:
    """Return the comparison of two open runners on batches of real inputs, by the task's answers.

    Raises:
        ExportError: no input, a NaN, or outputs of different shapes.
    """
    comparer, largest, number = evaluator.comparer(), 0.0, 0
    for feeds in batches:
        right, other = _both(reference, candidate, feeds, evaluator.output)
        largest = max(largest, float(np.abs(right[evaluator.output] - other[evaluator.output]).max()))
        wanted = evaluator.predictions(right)
        comparer.add(wanted, evaluator.predictions(other))
        number += len(wanted)
    if not number:
        raise ExportError("parity wants real inputs, found none")
    compared = comparer.comparison()
    return ParityReport(
        reference=f"{reference.name} {reference.precision}",
        candidate=f"{candidate.name} {candidate.precision}",
        num_inputs=number,
        max_abs_diff_probabilities=compared.difference,
        max_abs_diff_outputs=largest,
        agreement=compared.agreement,
        min_iou=compared.min_iou,
        tolerance=tolerance,
        passed=compared.difference <= tolerance,
        margin=tolerance - compared.difference,
    )


def _both(reference: Runner, candidate: Runner, feeds: Feeds, output: str) -> tuple[Arrays, Arrays]:
    wanted, found = reference.run(feeds), candidate.run(feeds)
    if wanted[output].shape != found[output].shape:
        raise ExportError(
            f"{candidate.name}: wanted {output} of shape {wanted[output].shape}, found {found[output].shape}"
        )
    for runner, outputs in ((reference, wanted), (candidate, found)):
        if not np.isfinite(outputs[output]).all():
            raise ExportError(f"{runner.name}: wanted finite {output}, found NaN or infinity")
    return wanted, found

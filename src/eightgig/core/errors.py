"""Every error this project raises on purpose, as one tree.

EightgigError
├── ConfigurationError    a parameter names what does not exist, or two contradict each other
├── DataError             the user's files are not what the case study needs
│   ├── ImageRejectedError   one image cannot be used (goes to rejects.csv, the run goes on)
│   └── StoreError        a store is missing, incomplete or damaged
├── BudgetError           no plan fits the memory budget
├── PredictionError       a network cannot be traced for the memory it would take
├── TrainingError         training cannot go on (loss is not finite, ...)
│   ├── CheckpointError   a checkpoint cannot be written or read, or is another run's
│   └── RankOutOfMemoryError    memory ran out in one of several processes, which cannot go on alone
├── BusyError             another run is at work in the same place
├── WeightsError          weights are missing, damaged, or of another model
└── ExportError           an exported file is not what it claims to be

A message says what was wanted, what was found, and the way out.
"""


class EightgigError(Exception):
    """Root of all errors raised on purpose.

    Examples:
        >>> from eightgig import EightgigError, read_plan
        >>> try:
        ...     read_plan("nowhere.json")
        ... except EightgigError as error:
        ...     print(error)
        nowhere.json: wanted a memory plan of this version, but it cannot be read as one (...). Run the plan stage, ...
    """


class ConfigurationError(EightgigError):
    """A parameter names what does not exist, or two parameters contradict each other."""


class DataError(EightgigError):
    """The user's files are not what the case study needs."""


class ImageRejectedError(DataError):
    """One image cannot be used.

    Attributes:
        reason: a short code, the `reason` column of rejects.csv (for example `truncated`).
        detail: what was found, for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class StoreError(DataError):
    """A store is missing, incomplete or damaged."""


class BudgetError(EightgigError):
    """No plan fits the memory budget."""


class PredictionError(EightgigError):
    """A network cannot be traced for the memory it would take."""


class TrainingError(EightgigError):
    """Training cannot go on."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be written or read, or belongs to another run."""


class RankOutOfMemoryError(TrainingError):
    """Memory ran out in one of several processes: all have to begin again with the smaller batch.

    Attributes:
        recovered: what a process alone would have done, as `vram.runtime.diagnosis.Recovered`.
    """

    def __init__(self, message: str, recovered: object) -> None:
        super().__init__(message)
        self.recovered = recovered


class BusyError(EightgigError):
    """Another run is at work in the same place."""


class WeightsError(EightgigError):
    """Weights are missing, damaged, or belong to another model."""


class ExportError(EightgigError):
    """An exported file is not what it claims to be."""

"""Whether a run goes on from what an earlier one left, as was asked for."""

import logging

from eightgig.core.errors import CheckpointError
from eightgig.training.checkpointing.checkpoint import Checkpoint, Checkpoints
from eightgig.training.parameters import Resume

logger = logging.getLogger(__name__)


def find_checkpoint(checkpoints: Checkpoints, choice: Resume) -> Checkpoint | None:
    """Return the checkpoint that the run goes on from, or whose result it takes; None where it begins anew.

    Checkpoints that play no part any more are archived.

    Raises:
        CheckpointError: `must` was asked for, and there is none of this recipe.
    """
    if choice == "never":
        checkpoints.archive()
        return None
    found = checkpoints.newest()
    if found is None:
        if choice == "must":
            raise CheckpointError(
                f"{checkpoints.folder}: train.resume is must, and there is no checkpoint to go on from. Set it to auto."
            )
        checkpoints.archive()  # damaged ones, if any: what is saved next must not stand beside them
        return None
    changes = checkpoints.recipe.changes(found.recipe)
    if changes and choice == "must":
        raise CheckpointError(
            f"{checkpoints.folder}: train.resume is must, and the checkpoint is of another recipe: "
            f"{'; '.join(changes)}. Set them back, or set train.resume to auto to begin anew."
        )
    if changes:
        logger.warning("the checkpoint is of another recipe (%s): training begins anew", "; ".join(changes))
        checkpoints.archive()
        return None
    return _with_these_circumstances(checkpoints, found, choice)


def _with_these_circumstances(checkpoints: Checkpoints, found: Checkpoint, choice: Resume) -> Checkpoint | None:
    others = checkpoints.recipe.changed_circumstances(found.recipe)
    if not found.state["finished"]:
        if others:
            logger.warning("not all is as when the run began, the result may differ slightly: %s", "; ".join(others))
        return found
    if others and choice != "must":  # nothing to lose but time, and the code may be what was worked on
        logger.info("the run was finished with other circumstances (%s): it is made anew", "; ".join(others))
        checkpoints.archive()
        return None
    logger.info("this very training is finished: its result is taken. train.resume=never trains anew")
    return found

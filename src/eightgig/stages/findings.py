"""What a person is told in the log of what is not as the files say: a line for each kind, not for each file."""

import logging

from eightgig.stages.annotations import Table

logger = logging.getLogger(__name__)
_MOST_LINES = 12  # of a set in which everything is wrong; all is in the list of rejects


def log_findings(rejects: Table) -> None:
    """Write how many rows of each reason there are, what was done and the first of them."""
    if not len(rejects):
        return
    table = rejects.assign(action=rejects.get("action", "refused"))
    kinds = table.groupby(["reason", "action"], sort=False)
    for (reason, action), rows in list(kinds)[:_MOST_LINES]:
        first = rows.iloc[0]
        where = first.get("path") or first.get("file", "")
        logger.warning("%d x %s (%s), first: %s: %s", len(rows), reason, action, where, first["detail"])
    if len(kinds) > _MOST_LINES:
        logger.warning("and %d more kinds", len(kinds) - _MOST_LINES)
    logger.warning("all %d rows are in rejects.csv", len(rejects))

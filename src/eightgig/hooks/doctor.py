"""A look at the machine before a run."""

import logging

from kedro.framework.hooks import hook_impl

logger = logging.getLogger(__name__)


class DoctorHook:
    """Says before a run what of this machine may spoil it, each finding once; `make doctor` says all."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Log warnings and problems; readings that go wrong never stop a run."""
        from eightgig.doctor import diagnose

        try:
            findings = diagnose("quick").serious
        except (OSError, ValueError) as error:
            logger.debug("the doctor could not look at this machine: %s", error)
            return
        for finding in findings:
            if finding.code not in self._told:
                self._told.add(finding.code)
                logger.warning("%s", finding.sentence())

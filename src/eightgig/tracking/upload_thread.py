"""Sends a run's event log in a thread of its own, so that nothing waits for the server."""

import logging
import threading
import time

from eightgig.tracking.addresses import without_secrets
from eightgig.tracking.event_log import EventLog
from eightgig.tracking.server import RunGoneError, error_message
from eightgig.tracking.uploader import Uploader

logger = logging.getLogger(__name__)

_GATHER_S = 1.0  # figures of one second go together: a request costs about as much for one as for a thousand
_LEAVE_S = 0.3  # to let the event log go, unless it is the server that it hangs on
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LAST_PAUSE_S = 1.0, 30.0, 0.5


class UploadThread:
    """Sends an event log until its run has ended, or until it is told to stop. Then the event log is let go."""

    def __init__(self, event_log: EventLog, uploader: Uploader) -> None:
        self._event_log, self._uploader = event_log, uploader
        self._where = without_secrets(uploader.server.uri)
        self._hurry, self._stopped, self._ended = threading.Event(), threading.Event(), threading.Event()
        self.in_contact = threading.Event()
        self.trouble: str | None = None
        self._is_given_up = False
        self._answered_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self, patience_s: float, limit_s: float) -> bool:
        """Wait until all is sent; give up when no answer came for a while, or at the limit. Say whether all is sent.

        What is in hand may take its time: an upload by its size, a local database up to the limit.
        """
        asked_at = time.monotonic()
        self._hurry.set()
        while not self._ended.wait(0.02):
            now = time.monotonic()
            quiet_since = max(asked_at, self._answered_at, self._uploader.expected_by)
            if now - quiet_since > patience_s or now - asked_at > limit_s:
                break
        self._stopped.set()
        self._ended.wait(_LEAVE_S)
        return self._uploader.is_complete or self._is_given_up

    def run_id(self, patience_s: float) -> str | None:
        """Wait for the first answer, which is MLflow's id of the run; None where none comes in time."""
        self.in_contact.wait(patience_s)
        return self._uploader.run_id

    def num_left(self) -> int:
        """Count the events that are not sent."""
        return self._uploader.num_left()

    def _work(self) -> None:
        try:
            pause = 0.0
            while not self._stopped.is_set() and not self._uploader.is_complete:
                self._hurry.wait(pause)
                pause = self._send_all(pause)
        finally:
            self._leave()

    def _send_all(self, pause: float) -> float:
        """Send what there is; give the time until the next look."""
        try:
            self._event_log.events.flush()
            while not self._stopped.is_set() and self._uploader.send_next(retry_files=self._hurry.is_set()):
                self._note_answer()
        except RunGoneError:
            self._give_up()
        except Exception as error:  # noqa: BLE001 - whatever MLflow stumbles over, training goes on
            return self._note_trouble(error, pause)
        if self._hurry.is_set() and not self._uploader.is_complete:
            self._stopped.wait(0.05)  # asked to finish, but the end is not written yet
        return _GATHER_S

    def _note_answer(self) -> None:
        self._answered_at = time.monotonic()
        self.in_contact.set()
        if self.trouble:
            logger.info("tracking: %s answers again; what was kept is being sent", self._where)
            self.trouble = None

    def _note_trouble(self, error: Exception, pause: float) -> float:
        if not self.trouble:
            logger.warning("tracking: %s does not take what is logged; it is kept in %s and sent later. %s: %s",
                           self._where, self._event_log.folder, type(error).__name__, error_message(error))  # fmt: skip
        self.trouble = error_message(error)
        if self._hurry.is_set():
            self._stopped.wait(_LAST_PAUSE_S)
        return min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    def _give_up(self) -> None:
        place = self._event_log.give_up()
        logger.warning("tracking: the run was deleted on %s; what is logged from now on is not kept there. What was "
                       "not sent lies in %s", self._where, place)  # fmt: skip
        self._is_given_up = True
        self._stopped.set()

    def _leave(self) -> None:
        if self._uploader.is_complete:
            self._event_log.remove()
        else:
            self._event_log.let_go()
        self._ended.set()

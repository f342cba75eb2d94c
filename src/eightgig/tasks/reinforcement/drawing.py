"""One episode as frames."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import ConfigurationError
from eightgig.models.agents import EnvironmentParameters, Spaces
from eightgig.tasks.reinforcement.environments import make_rendered
from eightgig.tasks.reinforcement.metrics import Policy
from eightgig.tasks.reinforcement.parameters import FilmParameters

_USUAL_RATE = 30.0


def drawn_episode(
    environment: EnvironmentParameters, spaces: Spaces, policy: Policy, parameters: FilmParameters
) -> tuple[NDArray[np.uint8], float]:
    """Play one episode and draw it.

    Returns:
        Frames (T, height, width, 3), and how many of them make a second. An environment that cannot be drawn gives one
        frame that says so.
    """
    try:
        copy = make_rendered(environment)
        rate = float(copy.metadata.get("render_fps") or _USUAL_RATE)
        every = max(1, round(rate / parameters.frames_per_second))
        return _played(copy, spaces, policy, parameters, every=every, rate=rate), rate / every
    except (ConfigurationError, ImportError) as error:
        return _words(f"{environment.name} cannot be drawn", str(error), parameters.width)[None], 1.0


def _played(
    copy: Any, spaces: Spaces, policy: Policy, parameters: FilmParameters, *, every: int, rate: float
) -> NDArray[np.uint8]:
    frames = []
    try:
        shown, _ = copy.reset(seed=0)
        for step in range(round(parameters.seconds * rate)):
            if step % every == 0:
                frames.append(_small(copy.render(), parameters.width))
            action = spaces.done(policy(spaces.observed(np.asarray(shown)[None])))[0]
            shown, _, terminated, truncated, _ = copy.step(action)
            if terminated or truncated:
                break
    finally:
        copy.close()
    return np.stack(frames)


def _small(frame: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    height = round(frame.shape[0] * width / frame.shape[1])
    small: NDArray[np.uint8] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return small


def _words(title: str, why: str, width: int) -> NDArray[np.uint8]:
    frame = np.full((80, width, 3), 255, dtype=np.uint8)
    for line, words in enumerate((title, why[: width // 6])):
        cv2.putText(frame, words, (8, 30 + 25 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
    return frame

"""Work of no consequence for the rows of day_driver.py; apart from it, since it shall start in no time."""

import time
from pathlib import Path


def work(name: str, seconds: float, folder: str, until: str = ""):
    """Say that it was started; then take so many seconds, or until another row has said so of itself."""

    def note(what: str) -> None:
        with (Path(folder) / "events.txt").open("a") as file:
            file.write(f"{name} {what} {time.time()}\n")

    note("started")

    def measure(keep):
        note("began")
        keep({"half": 1})
        if seconds < 0:
            raise RuntimeError("it cannot be done")
        end = time.time() + seconds
        while time.time() < end and not (until and until in (Path(folder) / "events.txt").read_text()):
            time.sleep(0.05)
        note("ended")
        return {"whole": 2}

    return measure

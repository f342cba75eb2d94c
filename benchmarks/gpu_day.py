"""What benchmarks/results owes on a card, the most important first, in minutes: `make gpu-day MINUTES=10`.

Every row is kept as soon as it is done, and a second call takes up where the first one stopped. While one row is on
the card, the next makes ready on the CPU and plans are made for those after it, so that the card does not wait for the
host. What cannot be run is a row that says why. `--rehearse` goes the whole way on the CPU with tiny networks.

Without the project's environment: fetch the wheels of benchmarks/gpu_wheels.txt, install them beside the machine's own
packages, and `PYTHONPATH=src:/tmp/site python3 benchmarks/gpu_day.py --minutes 10 --out FOLDER`.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
DEFAULT_MINUTES = 10


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="it has ended by then")
    parser.add_argument("--out", type=Path, help="folder for few, packed files; default: benchmarks/results")
    parser.add_argument("--work", type=Path, help="folder for what need not stay: samples, snapshots not yet packed")
    parser.add_argument("--budget-gib", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=20, help="of a row of `memory`, where the plan says that it fits")
    parser.add_argument("--only", default="", help="rows whose name contains this, such as `recipes` or `gpt2`")
    parser.add_argument("--rehearse", action="store_true", help="the whole way on the CPU, with tiny networks")
    parser.add_argument("--list", action="store_true", help="name the rows and what is missing for them, and end")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 0 when all is measured or cannot be, 1 when rows are left or failed, 2 without a GPU or pydantic."""
    begun, options = time.monotonic(), parsed(arguments)
    try:
        import pydantic  # noqa: F401
    except ImportError:
        print(f"pydantic is not here: install the wheels of {FOLDER / 'gpu_wheels.txt'} first. Nothing was measured.")
        return 2
    from day_begin import begin

    work = options.work or Path(tempfile.gettempdir()) / f"gpu-day{'-rehearsal' if options.rehearse else ''}"
    return begin(options, work, begun + 60 * options.minutes)


if __name__ == "__main__":
    raise SystemExit(main())

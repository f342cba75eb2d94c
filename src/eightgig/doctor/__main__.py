"""`python -m eightgig.doctor`: say what this machine can run, and what to change."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from eightgig.doctor import diagnose
from eightgig.doctor.table import lines, table


def main(arguments: list[str] | None = None) -> int:
    """Write the findings; 1 where there is a problem, 0 otherwise."""
    parser = argparse.ArgumentParser("python -m eightgig.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="all readings and findings, for programs")
    parser.add_argument("--folder", type=Path, help="where data are, or will be; EIGHTGIG_DATA or ./data otherwise")
    options = parser.parse_args(arguments)
    diagnosis = diagnose(folder=options.folder)
    if options.json:
        sys.stdout.write(diagnosis.model_dump_json(indent=2) + "\n")
    elif sys.stdout.isatty():
        Console(highlight=False).print(table(diagnosis))
    else:
        sys.stdout.write("\n".join(lines(diagnosis)) + "\n")
    return 1 if diagnosis.has_problems else 0


if __name__ == "__main__":
    sys.exit(main())

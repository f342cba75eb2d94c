"""The command `eightgig`: what is asked of this project outside of Kedro. A part is imported when it is run."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from eightgig.cli import completion, fit_command
from eightgig.core.errors import DataError, EightgigError
from eightgig.core.files import data_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status.

    Args:
        arguments: as they are typed after `eightgig`; None takes those of this process.
    """
    parser = argparse.ArgumentParser("eightgig", description="What is asked of eightgig outside of Kedro.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    parsers: dict[str, argparse.ArgumentParser] = {}
    for name, command in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help, epilog=command.status)
        command.add_options(subparser)
        subparser.set_defaults(run=command.run, parsers=parsers)
        parsers[name] = subparser
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    return run(options)


def _doctor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="all readings and findings, for programs")
    parser.add_argument("--folder", type=Path, help="where data are, or will be; EIGHTGIG_DATA or ./data otherwise")


def _doctor(options: argparse.Namespace) -> int:
    from rich.console import Console

    from eightgig.doctor import diagnose
    from eightgig.doctor.table import lines, table

    diagnosis = diagnose(folder=options.folder)
    if options.json:
        sys.stdout.write(diagnosis.model_dump_json(indent=2) + "\n")
    elif sys.stdout.isatty():
        Console(highlight=False).print(table(diagnosis))
    else:
        sys.stdout.write("\n".join(lines(diagnosis)) + "\n")
    return 1 if diagnosis.has_problems else 0


def _snapshot_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="of torch.cuda.memory._dump_snapshot")
    parser.add_argument("--device", type=int, help="default: the device with the longest trace")
    parser.add_argument("--json", action="store_true", help="each comparison on a line of its own, for programs")


def _snapshot(options: argparse.Namespace) -> int:
    from eightgig.vram.allocator.snapshot import compare_snapshot

    status = 0
    for path in options.files:
        try:
            comparison = compare_snapshot(path, options.device)
        except DataError as error:
            status = _refuse(error)
        else:
            sys.stdout.write(f"{comparison.model_dump_json() if options.json else comparison.sentence()}\n")
            status = max(status, 0 if comparison.exact else 1)
    return status


def _calibrate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the calibration to write")
    parser.add_argument("--base", type=Path, help="for what is not measured; default: the packaged constants")
    parser.add_argument("--json", action="store_true", help="the file and what was found, for programs")


def _calibrate(options: argparse.Namespace) -> int:
    from eightgig.vram.tracing.calibrate import calibrate

    try:
        lines = calibrate(options.out, options.base)
    except EightgigError as error:
        return _refuse(error)
    if options.json:
        _write_json(file=str(options.out), found=lines)
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _replay_options(parser: argparse.ArgumentParser) -> None:
    default = data_folder() / "09_tracking"
    parser.add_argument("folder", nargs="?", type=Path, default=default, help="where runs are kept (%(default)s)")
    parser.add_argument("--to", metavar="URI", help="send all of them there, and not where each was meant for")
    parser.add_argument("--json", action="store_true", help="how many were sent and are left, for programs")


def _replay(options: argparse.Namespace) -> int:
    from eightgig.tracking.replay import replay_all

    stream = sys.stderr if options.json else sys.stdout
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=stream)
    logging.getLogger("eightgig.tracking").setLevel(logging.INFO)
    done = replay_all(options.folder, options.to)
    left = done.kept + done.held
    if options.json:
        _write_json(folder=str(options.folder), sent=done.sent, left=left)
    else:
        sys.stdout.write(f"{options.folder}: {done.sent} runs sent, {left} left\n")
    return 1 if left else 0


def _join_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=Path, help="job.json of the run, as the first machine logs it")
    parser.add_argument("--node-rank", type=int, required=True, help="number of this machine, from 1")
    parser.add_argument("--wait", type=float, default=600.0, help="seconds to wait for the run to begin")


def _join(options: argparse.Namespace) -> int:
    from eightgig.stages.distributed.join import join

    try:
        return 0 if join(options.job, node_rank=options.node_rank, wait_s=options.wait) else 1
    except EightgigError as error:
        _refuse(error)
        return 1


def _write_json(**values: object) -> None:
    sys.stdout.write(json.dumps(values, indent=2) + "\n")


def _completion(options: argparse.Namespace) -> int:
    return completion.write(options.shell, options.parsers)


def _refuse(error: EightgigError) -> int:
    sys.stderr.write(f"{error}\n")
    return 2


class _Command(NamedTuple):
    """A subcommand.

    Attributes:
        help: what it is for.
        status: what its exit statuses mean.
    """

    help: str
    status: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


_COMMANDS = {
    "fit": _Command(fit_command.FIT_HELP, fit_command.FIT_STATUS, fit_command.fit_options, fit_command.fit),
    "cards": _Command(fit_command.CARDS_HELP, fit_command.CARDS_STATUS, fit_command.cards_options, fit_command.cards),
    "doctor": _Command(
        "say what this machine can run, and what to change",
        "Ends with 1 where there is a problem.",
        _doctor_options,
        _doctor,
    ),
    "snapshot": _Command(
        "hold the allocator's simulator against snapshots of a real GPU",
        "Ends with 1 where the simulator disagrees, with 2 where a file cannot be used.",
        _snapshot_options,
        _snapshot,
    ),
    "calibrate": _Command(
        "measure the constants of workspace memory on the card at hand",
        "Ends with 2 where there is nothing to measure on. Point plan.calibration at the file.",
        _calibrate_options,
        _calibrate,
    ),
    "replay": _Command(
        "send what a tracking server that was dead has not got",
        "Ends with 1 where something is left.",
        _replay_options,
        _replay,
    ),
    "completion": _Command(
        'write a script that completes these commands: eval "$(eightgig completion bash)"',
        "Ends with 0.",
        completion.completion_options,
        _completion,
    ),
    "join": _Command(
        "let this machine take part in a run of several", "Ends with 1 where no run ended well.", _join_options, _join
    ),
}

"""Kedro's own `run`, but for two things.

`--params` takes texts as they are typed, and several of it add up. An error that a person can mend is told by its
message alone, with exit status 1.
"""

import os
import sys
from pathlib import Path
from traceback import print_exception
from typing import Any

import click
from kedro.framework.cli.project import PARAMS_ARG_HELP
from kedro.framework.cli.project import run as kedro_run

_HELP = (
    PARAMS_ARG_HELP
    + """ A text is taken as it is typed, commas and numbers too: a comma begins the next parameter only where a dotted
    name and `=` follow. May be given several times. Texts that hold even that go into a YAML file: see --config."""
)


class ParametersOption(click.Option):
    """`--params`, any number of times, or the mapping of a file that `--config` names."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Leave the mapping of a file alone."""
        return value if isinstance(value, dict) else super().type_cast_value(ctx, value)


def read_parameters(ctx: click.Context, _option: click.Parameter, value: Any) -> dict[str, Any]:
    """Return the parameters as nested mappings; what cannot be read ends the command with the way out."""
    from eightgig.cli.typed_parameters import UnreadableParametersError, parse_parameters

    if isinstance(value, dict):
        return value
    try:
        return parse_parameters(value or ())
    except UnreadableParametersError as error:
        ctx.fail(str(error))


def _own_run() -> click.Command:
    options: list[click.Parameter] = [
        ParametersOption(["--params"], multiple=True, type=click.UNPROCESSED, help=_HELP, callback=read_parameters)
        if option.name == "params"
        else option
        for option in kedro_run.params
    ]
    options.append(click.Option(["--traceback"], is_flag=True, help="Show where in the code an error was raised."))
    return click.Command("run", callback=run_plainly, params=options, help=kedro_run.help)


def run_plainly(*, traceback: bool = False, **options: Any) -> Any:
    """Run as Kedro does, with a log; say plainly what went wrong."""
    from eightgig.cli.run_log import RunLog, write_whole_lines
    from eightgig.core.files import data_folder

    if options["pipeline"] and not options["pipelines"]:  # the same to Kedro, which warns of the first
        options |= {"pipeline": "", "pipelines": [options["pipeline"]]}
    _check_pipelines(options["pipelines"])
    callback: Any = kedro_run.callback
    write_whole_lines()
    with RunLog(data_folder() / "logs") as log:
        try:
            return callback(**options)
        except click.ClickException:
            raise
        except Exception as error:
            log.add(error)
            if traceback or os.environ.get("EIGHTGIG_TRACEBACK"):
                raise
            _say(error, options, log.path)
            sys.exit(1)


def _say(error: Exception, options: dict[str, Any], log: Path | None) -> None:
    from eightgig.cli.plain_errors import REPORT_AT, message_of

    message = message_of(error) or _about_tags(options["tags"], options["pipelines"], error)
    where = f"The traceback is in {log}." if log else "--traceback shows where."
    if message is None:
        print_exception(error)
        where = f"This was not foreseen. Please report it to {REPORT_AT}: {log or 'above'}"
    click.secho(message or "", fg="red", err=True)
    click.echo(where, err=True)


def _about_tags(tags: Any, names: Any, error: Exception) -> str | None:
    """Return what is said of tags that no node of the pipelines has, where that is what the error is about."""
    from kedro.framework.project import pipelines

    from eightgig.cli.plain_errors import unknown_name

    if "Pipeline contains no nodes" not in str(error):
        return None
    known = sorted({tag for name in names or ("__default__",) for node in pipelines[name].nodes for tag in node.tags})
    unknown = [tag for tag in tags or () if tag not in known]
    return "\n".join(unknown_name("tag", tag, known) for tag in unknown) or str(error)


def _check_pipelines(names: Any) -> None:
    from eightgig.cli.plain_errors import unknown_name
    from eightgig.cli.typed_parameters import case_names

    known = case_names()
    for name in names or ():
        if name not in known and name != "__default__":
            click.secho(unknown_name("pipeline", name, known), fg="red", err=True)
            sys.exit(1)


@click.group(name="eightgig")
def cli() -> None:
    """Take what Kedro has, and `run`."""


run = _own_run()
cli.add_command(run)

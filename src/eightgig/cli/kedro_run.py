"""Kedro's own `run`, but for `--params`: texts are taken as they are typed, and several of it add up."""

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
    return click.Command("run", callback=kedro_run.callback, params=options, help=kedro_run.help)


@click.group(name="eightgig")
def cli() -> None:
    """Take what Kedro has, and `run`."""


run = _own_run()
cli.add_command(run)

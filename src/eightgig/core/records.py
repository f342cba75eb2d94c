"""The base of all parameters and results: immutable, and strict about names."""

import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Record(BaseModel):
    """An immutable set of named values; an unknown name is refused with the names that exist.

    Parameters (read from conf/) and results (written as JSON) are both records, so what a run was told and what it
    found have one form.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _refuse_what_yaml_made(value: Any) -> Any:
    if isinstance(value, bool | int | float | datetime.date):
        raise ValueError(
            f"wanted a text, found {value!r}, of the type {type(value).__name__}: in a file of YAML, put the text into "
            "quotation marks"
        )
    return value


Text = Annotated[str, BeforeValidator(_refuse_what_yaml_made)]
"""A text of any kind; one that YAML takes for a number or a date is told how to stay a text, for 007 would be 7."""

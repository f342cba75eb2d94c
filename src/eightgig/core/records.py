"""The base of all parameters and results: immutable, and strict about names."""

import datetime
from enum import Enum
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


class Effect(Enum):
    """What a parameter has an effect on, where that is not what comes out; declared as `Annotated[int, Effect.NONE]`.

    Attributes:
        NONE: on nothing that is made: how fast it is made, or how safely.
        ROUNDING: on a training's result by rounding at most; on other things, such as a plan, it may have one.
    """

    NONE = "none"
    ROUNDING = "rounding"


class Record(BaseModel):
    """An immutable set of named values; an unknown name is refused with the names that exist.

    Parameters (read from conf/) and results (written as JSON) are both records, so what a run was told and what it
    found have one form.

    Attributes:
        renamed: names that fields once had, with those they have now; the old ones are refused by that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
    renamed: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, values: Any) -> Any:
        old = [name for name in cls.renamed if name in values] if isinstance(values, dict) else []
        if old:
            raise ValueError("; ".join(f"`{name}` is called `{cls.renamed[name]}` now" for name in old))
        return values

    @classmethod
    def from_records(cls, *records: "Record", **values: Any) -> Self:
        """Return a record with all that others have by the same names, so that nothing new is left behind.

        Args:
            records: of equal names the last one's value is taken.
            values: what no record has, or what shall be otherwise.
        """
        shared = {
            name: getattr(record, name)
            for record in records
            for name in cls.model_fields.keys() & type(record).model_fields.keys()
        }
        return cls(**{**shared, **values})

    @classmethod
    def fields_with(cls, *effects: Effect) -> set[str]:
        """Return the names of the fields that are declared to have one of these effects."""
        return {name for name, field in cls.model_fields.items() if any(each in effects for each in field.metadata)}

    def dump_without(self, *effects: Effect) -> dict[str, Any]:
        """Return plain values by name, but for the fields that have one of these effects, in records within as well."""
        dropped = self.fields_with(*effects)
        within = {
            name: value.dump_without(*effects)
            for name, value in self
            if isinstance(value, Record) and name not in dropped
        }
        return self.model_dump(mode="json", exclude=dropped) | within


def _refuse_what_yaml_made(value: Any) -> Any:
    if isinstance(value, bool | int | float | datetime.date):
        raise ValueError(
            f"wanted a text, found {value!r}, of the type {type(value).__name__}: in a file of YAML, put the text into "
            "quotation marks"
        )
    return value


Text = Annotated[str, BeforeValidator(_refuse_what_yaml_made)]
"""A text of any kind; one that YAML takes for a number or a date is told how to stay a text, for 007 would be 7."""

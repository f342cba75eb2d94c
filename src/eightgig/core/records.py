"""The base of all parameters and results: immutable, and strict about names."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An immutable set of named values; an unknown name is refused with the names that exist.

    Parameters (read from conf/) and results (written as JSON) are both records, so what a run was told and what it
    found have one form.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

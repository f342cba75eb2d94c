"""`--params` as a person types it: a text may hold commas, quotation marks, colons, numbers, and stays as it is."""

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

_NAME = r"[^\W\d][\w-]*"
_FIRST = re.compile(rf"\s*({_NAME}(?:\.[\w-]+)*)\s*=")
# Only a dotted name begins the next parameter: `so, x=1` goes on with a text, and all parameters here are dotted.
_NEXT = re.compile(rf",\s*({_NAME}(?:\.[\w-]+)+)\s*=")
_INTERPOLATION = re.compile(r"(\\*)\$\{")
_SCALARS = (int, float, bool)
_BY_FILE = (
    "Texts of any kind can be given in a YAML file: `kedro run --config run.yml`, with\n"
    'run:\n  pipeline: text_generator\n  params:\n    text_generator:\n      generate: {prompt: "any text"}'
)


class UnreadableParametersError(ValueError):
    """What is behind `--params` cannot be read; the message says the way out."""


def parse_parameters(values: Iterable[str]) -> dict[str, Any]:
    """Return parameters as nested mappings, from the texts behind each `--params`.

    A parameter that is a text by the record that holds it is taken as it is typed, but for `null`, which is no text
    where there may be none, and for quotation marks around all of it, which are dropped as YAML does. All else is YAML,
    as Kedro reads it.

    Raises:
        UnreadableParametersError: an item has no name, a name's first part is no case study, or a value is no YAML.
    """
    found: dict[str, Any] = {}
    for name, value in (pair for text in values for pair in split_parameters(text)):
        _put(found, name.split("."), _value_of(name, value), name)
    return found


def split_parameters(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and values; a comma ends a value only where another dotted name follows."""
    if not text.strip():
        return
    first = _FIRST.match(text)
    if first is None:
        raise UnreadableParametersError(
            "--params: wanted name=value, such as sentiment_classifier.predict.text=Good, found "
            f"{text[:80]!r}. {_BY_FILE}"
        )
    starts = [(first.start(), first.end(), first[1])]
    starts += [(match.start(), match.end(), match[1]) for match in _NEXT.finditer(text, first.end())]
    for place, (_, begin, name) in enumerate(starts):
        last = place + 1 == len(starts)
        yield name, text[begin:] if last else text[begin : starts[place + 1][0]]


def _value_of(name: str, value: str) -> Any:
    kind = _kind_of(name)
    if kind in ("text", "maybe text"):
        return None if kind == "maybe text" and value.strip() == "null" else _escaped(_unquoted(value))
    if kind == "texts":
        return [_escaped(item) for item in _texts(name, value)]
    try:
        read = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value.strip()}"]))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UnreadableParametersError(
            f"--params: {name}: {value[:80]!r} is no value of YAML ({str(error).splitlines()[0]}). {_BY_FILE}"
        ) from error
    return read["value"] if isinstance(read, dict) else read


def _unquoted(value: str) -> str:
    mark = value.strip()[:1]
    if mark not in ("'", '"') or not value.strip().endswith(mark) or len(value.strip()) < 2:
        return value
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:  # `"So," he said, "or not."`
        return value
    return read if isinstance(read, str) else value


def _texts(name: str, value: str) -> list[str]:
    if not value.strip().startswith("["):
        return [_unquoted(value)]
    try:
        read = yaml.load(value, Loader=yaml.BaseLoader)  # noqa: S506 - of texts alone
    except yaml.YAMLError as error:
        raise UnreadableParametersError(f"--params: {name}: {value[:80]!r} is no list ({error}). {_BY_FILE}") from error
    return [str(item) for item in read]


def _escaped(text: str) -> str:
    """Return the text so that OmegaConf, by which Kedro merges, gives it back, `${` too."""
    return _INTERPOLATION.sub(lambda match: match[1] * 2 + r"\${", text)


def _put(found: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    inner = found
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UnreadableParametersError(f"--params: {name} and a part of it are both given. Give one of them.")
    inner[keys[-1]] = value


def _kind_of(name: str) -> Literal["text", "maybe text", "texts", "other"]:
    """Return whether the record that holds a parameter takes it as text."""
    case, *keys = name.split(".")
    if case not in case_names():
        raise UnreadableParametersError(
            f"--params: {name}: there is no case study `{case}`; there are {', '.join(case_names())}. Where this "
            f"belongs to the text before it: {_BY_FILE}"
        )
    records = _records_of(case)
    for length in range(len(keys), 0, -1):
        record = records.get(".".join([case, *keys[:length]]))
        if record is not None:
            return _kind_within(record, keys[length:])
    return "other" if keys != ["title"] else "text"  # the page's title is a parameter by itself


def _kind_within(record: Any, keys: list[str]) -> Literal["text", "maybe text", "texts", "other"]:
    kinds: list[Any] = []
    inner: list[Any] = [record]  # a whole group is a mapping of YAML
    for place, key in enumerate(keys):
        fields: Mapping[str, Any] = getattr(record, "model_fields", {})
        if key not in fields:
            return "other"
        kinds = [*_plain(fields[key].annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if place + 1 < len(keys):
            if not inner:
                return "other"
            record = inner[0]
    if any(get_origin(kind) is tuple and get_args(kind)[0] is str for kind in kinds):
        return "texts"
    if inner or not kinds or any(kind not in (str, Path, NoneType) for kind in kinds):
        return "other"
    return "maybe text" if NoneType in kinds else "text"


def _plain(annotation: Any) -> Iterator[Any]:
    """Yield the alternatives of an annotation, without what is said about them; a choice of texts is a text."""
    if hasattr(annotation, "__metadata__"):
        yield from _plain(annotation.__origin__)
    elif get_origin(annotation) is Literal:
        yield from {type(choice) for choice in get_args(annotation)}
    elif get_origin(annotation) in (tuple, list, dict) or not get_args(annotation):
        yield annotation
    else:
        for inner in get_args(annotation):
            yield from _plain(inner)


def case_names() -> list[str]:
    """Return the case studies, which have a pipeline each."""
    from eightgig import pipelines

    return [module.name for module in iter_modules(pipelines.__path__) if module.ispkg]


def _records_of(case: str) -> dict[str, Any]:
    """Return the record of each group of parameters that a node of the case study takes."""
    from kedro.validation import TypeExtractor

    pipeline = import_module(f"eightgig.pipelines.{case}").create_pipeline()
    return dict(TypeExtractor({case: pipeline}).extract_types_from_pipelines())

"""Where MLflow is: the tracking URI, made whole, and made fit to be written down."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_SQLITE = "sqlite:///"


def whole_uri(uri: str, project: Path) -> str:
    """Put the project's folder for `{project}`, and give a database file its full path: another process reads this."""
    uri = uri.replace("{project}", project.as_posix())
    return f"{_SQLITE}{database_file(uri).as_posix()}" if is_local(uri) else uri


def is_local(uri: str) -> bool:
    """Return whether it is a database file: it answers, or fails, and is never away for a while."""
    return uri.startswith(_SQLITE)


def database_file(uri: str) -> Path:
    """Return the path to a local database."""
    return Path(uri.removeprefix(_SQLITE)).resolve()


def artifact_location(uri: str, experiment: str) -> str | None:
    """Return where a new experiment's files go: beside a database file; a server has a place of its own."""
    return (database_file(uri).parent / "mlruns" / experiment).as_uri() if is_local(uri) else None


def without_secrets(uri: str) -> str:
    """Leave user name and password out."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri

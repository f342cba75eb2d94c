"""Libraries that only some networks ask for: missing ones are named, with the command that brings them."""

from importlib.util import find_spec

from eightgig.core.errors import ConfigurationError


def needed(library: str, what: str) -> None:
    """Check that a library is there.

    Args:
        library: its name, which pip knows it by too.
        what: asks for it.

    Raises:
        ConfigurationError: it is not installed.
    """
    if find_spec(library) is None:
        raise ConfigurationError(f"{what} needs {library}, which is not installed: pip install {library}")

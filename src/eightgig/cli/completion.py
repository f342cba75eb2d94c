"""`eightgig completion bash|zsh|fish`: a script for the shell, made from the options that the commands have."""

import argparse
import sys
from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")
_BASH = """_eightgig() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words
  case "${{COMP_WORDS[1]}}" in
{cases}
    *) words="{commands}" ;;
  esac
  [ "$COMP_CWORD" -eq 1 ] && words="{commands}"
  COMPREPLY=( $(compgen -W "$words" -- "$current") $(compgen -f -- "$current") )
}}
complete -F _eightgig eightgig
"""


def completion_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `eightgig completion`."""
    parser.add_argument("shell", choices=SHELLS)


def script_of(shell: str, parsers: dict[str, argparse.ArgumentParser]) -> str:
    """Return the script for a shell.

    Args:
        shell: one of `SHELLS`.
        parsers: of the commands, by name.
    """
    options = {name: list(_options(parser)) for name, parser in parsers.items()}
    if shell == "fish":
        return "".join(_fish(options))
    cases = "\n".join(f'    {name}) words="{" ".join(words)}" ;;' for name, words in options.items())
    script = _BASH.format(cases=cases, commands=" ".join(options))
    return script if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{script}"


def write(shell: str, parsers: dict[str, argparse.ArgumentParser]) -> int:
    """Write the script to standard output."""
    sys.stdout.write(script_of(shell, parsers))
    return 0


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (name for name in action.option_strings if name.startswith("--"))
        yield from (str(choice) for choice in action.choices or ())


def _fish(options: dict[str, list[str]]) -> Iterator[str]:
    yield f"complete -c eightgig -n __fish_use_subcommand -a '{' '.join(options)}'\n"
    for name, words in options.items():
        for word in words:
            said = f"-l {word.removeprefix('--')}" if word.startswith("--") else f"-a {word}"
            yield f"complete -c eightgig -n '__fish_seen_subcommand_from {name}' {said}\n"

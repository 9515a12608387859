# SPDX-License-Identifier: MIT
"""`memlane completion`: scripts by which shells complete commands, options and names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

_BASH = """\
_memlane() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]}}"
    local words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "$command" in
{cases}
        esac
        case "$word" in
            -*) ;;
            *) words="$words $(memlane ls --json 2>/dev/null | sed -n {names})" ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _memlane memlane
"""
#: bash's script works in zsh by its bashcompinit.
_ZSH = "autoload -Uz bashcompinit && bashcompinit\n"
#: The name of a region at the beginning of a line of JSON: names of plain signs only.
_NAMES = '\'s/^{"name": "\\([A-Za-z0-9_.:-]*\\)".*/\\1/p\''

#: An option at the beginning of a line of help, in its short and its long form.
_OPTION = re.compile(r"^  (-\w|--[\w-]+)(?:[^-\n]*, (--[\w-]+))?", re.MULTILINE)


def completion(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> int:
    """Print the script for a shell."""
    options = _options(parsers)
    if shell == "fish":
        print(_fish(options), end="")
        return 0
    cases = "\n".join(
        f'            {name}) words="{" ".join(found)}" ;;' for name, found in options.items()
    )
    script = _BASH.format(commands=" ".join(options), cases=cases, names=_NAMES)
    print((_ZSH if shell == "zsh" else "") + script, end="")
    return 0


def _options(parsers: Mapping[str, argparse.ArgumentParser]) -> dict[str, list[str]]:
    """The options of each command, as its help shows them."""
    return {
        name: [word for words in _OPTION.findall(parser.format_help()) for word in words if word]
        for name, parser in parsers.items()
    }


def _fish(options: dict[str, list[str]]) -> str:
    none, names = "__fish_use_subcommand", f"memlane ls --json 2>/dev/null | sed -n {_NAMES}"
    lines = [f"complete -c memlane -n {none} -f -a '{' '.join(options)}'"]
    for name, found in options.items():
        seen = f"'__fish_seen_subcommand_from {name}'"
        lines += [
            f"complete -c memlane -n {seen} {'-l' if one.startswith('--') else '-s'} "
            f"{one.lstrip('-')}"
            for one in found
        ]
    lines.append(
        f'complete -c memlane -n "not {none}" -a "({names})"'.replace('"name"', '\\"name\\"')
    )
    return "\n".join(lines) + "\n"

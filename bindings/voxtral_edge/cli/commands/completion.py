"""voxtral completion: scripts that let shells complete words of the command."""

from __future__ import annotations

import argparse

from ...console.lines import write
from ...console.status import OK

SHELLS = ("bash", "zsh", "fish")
HELP = "print the completion script of a shell"

ABOUT = """\
Print the completion script of a shell. To use it:

    bash    voxtral completion bash > ~/.local/share/bash-completion/completions/voxtral
    zsh     voxtral completion zsh > DIR/_voxtral, DIR being one of $fpath
    fish    voxtral completion fish > ~/.config/fish/completions/voxtral.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def run(args: argparse.Namespace) -> int:
    """Print the script; return the exit status. `args.parser` makes the parser of all commands."""
    import shtab

    from ...convert import convert_voxtral

    write(shtab.complete(args.parser(convert_voxtral.parser()), args.shell) + "\n")
    return OK

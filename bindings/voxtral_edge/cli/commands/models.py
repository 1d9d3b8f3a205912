"""voxtral models: those that were converted, to list, verify and remove."""

from __future__ import annotations

import argparse
import contextlib

from ...console.arguments import Parser
from ...console.lines import complain, write
from ...console.printable import printable
from ...console.progress import Bar
from ...console.status import OK
from ...machine import models

HELP = "list, verify and remove converted models"

ABOUT = """\
List the models in the data directory, where voxtral convert puts those that are given no place:
name, type, size, date, and what they were converted from.

    voxtral models                  list them
    voxtral models verify NAME      compare a file with the hash it was written with
    voxtral models remove NAME      remove a file

Everywhere -m takes the path of a file, it takes NAME, the beginning of it, or ORG/NAME of the hub,
as long as a single model is meant. The checkpoints that were downloaded are in the hub's cache,
which the command hf cache lists and empties.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands of the command."""
    verbs = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for verb, run, help in (
        ("verify", _verify, "compare a model with the hash it was written with"),
        ("remove", _remove, "remove a model"),
    ):
        command = verbs.add_parser(verb, help=help, description=help.capitalize() + ".")
        command.add_argument("name", metavar="NAME", help="as voxtral models lists it")
        command.add_argument("--quiet", action="store_true", help="say nothing unless it fails")
        command.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """List them; return the exit status."""
    rows = [
        (
            printable(model.name),
            printable(model.type or "damaged"),
            f"{model.n_bytes / 1e6:,.1f} MB",
            model.converted.isoformat() if model.converted else "-",
            printable(model.source or "-"),
        )
        for model in models.stored()
    ]
    if not rows:
        complain("no models yet: voxtral convert mistralai/Voxtral-Mini-4B-Realtime-2602 makes one")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[2] = row[2].rjust(widths[2])
        write("  ".join(cells).rstrip() + "\n")
    return OK


def _verify(args: argparse.Namespace) -> int:
    n_bytes = models.find(args.name).stat().st_size
    with contextlib.nullcontext() if args.quiet else Bar("verify", n_bytes) as progress:
        model = models.verify(args.name, progress)
    if not args.quiet:
        write(f"{printable(model.name)}: whole, SHA-256 {model.sha256}\n")
    return OK


def _remove(args: argparse.Namespace) -> int:
    model = models.remove(args.name)
    if not args.quiet:
        write(f"{printable(model.name)}: removed, {model.n_bytes / 1e6:,.1f} MB\n")
    return OK

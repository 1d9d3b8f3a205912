"""voxtral inspect: what a model file or a checkpoint is made of."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...console.arguments import names_files
from ...console.lines import write
from ...console.status import OK
from ...machine import models

HELP = "describe a model file or a checkpoint"
ABOUT = "Describe a model file or a checkpoint: its metadata, tensors and their totals."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    names_files(
        parser.add_argument(
            "path", metavar="PATH", help="a GGUF or safetensors file, or the folder of a checkpoint"
        )
    )
    parser.add_argument("--filter", metavar="REGEX", help="list only tensors so named")


def run(args: argparse.Namespace) -> int:
    """Describe it; return the exit status."""
    from ...machine.inspect import inspect

    path = Path(args.path)
    write(inspect(path if path.exists() else models.find(path), args.filter))
    return OK

"""What this machine is to the model, in a page that fits a bug report: `voxtral doctor`.

examine() returns a dictionary that is written as JSON as it is; report() makes text of it. Only the
self-test, and the model that was named, decide whether all is well: what else is missing may not be
wanted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ...console.lines import complain, write
from ...errors import VoxtralError
from .. import host, models
from .page import report

Found = host.Found

HELP = "look at this machine, test, and estimate the speed"

ABOUT = """\
Look at this machine: processor, memory, versions, how loud the microphone is in a second, a
self-test with the demo model, and how fast the 4B model would be. It takes some fifteen seconds, a
third of a gigabyte of memory, and as much of temporary files; up to twenty seconds more while other
programs run, which it says. The output fits a bug report. The exit status is 1 if the self-test
fails, else 0.

    voxtral doctor -m MODEL

lets a model that is there hear a recording whose words are known, in place of the estimate: how
many words are wrong, and how fast it is. The exit status is 1 if it does not hear them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "-m", "--model", metavar="MODEL", help="test it: a GGUF file, or one of voxtral models"
    )
    parser.add_argument("--json", action="store_true", help="print an object instead of text")


def run(args: argparse.Namespace) -> int:
    """Run the command with parsed options; return 0, or 1 if a test failed."""
    path = models.chosen(args.model)
    if sys.stderr.isatty():
        complain("measuring, which takes some seconds")
    found = examine(path)
    write(json.dumps(found, indent=1) + "\n" if args.json else report(found))
    tests = [found["self_test"], *([found["hearing"]] if path else [])]
    return 0 if all(test["passed"] for test in tests) else 1


def examine(model: Path | None = None) -> Found:
    """Return all that can be found out; what cannot be is a text under "error".

    With a model, "hearing" is what it hears and how fast, in place of the "estimate".
    """
    from . import checks  # here and below: what takes long to import, and only this command needs

    found = checks.look()
    if model is None:
        found["estimate"] = _estimate()
    else:
        found["hearing"] = _hearing(model)
    return found


def _estimate() -> Found:
    from .. import estimate

    try:
        return estimate.estimate()
    except (VoxtralError, OSError) as error:
        return {"error": str(error)}


def _hearing(model: Path) -> Found:
    from ...convert import ConversionError
    from .hearing import hear

    try:
        return hear(model)
    except (VoxtralError, ConversionError, OSError) as error:
        return {"passed": False, "error": str(error)}

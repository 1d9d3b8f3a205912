"""voxtral plot: a picture of a transcript."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...console.arguments import names_files, seconds
from ...console.status import OK
from ..options import open_model

HELP = "draw a transcript"

ABOUT = """\
Draw a transcript: waveform, mel, words at their times, and the token of every 80 ms.

In the lane of tokens, dots are pads, bars are markers (a word has ended), boxes are text. Times of
words are approximate. At most two minutes fit; --from and --to choose them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    names_files(parser.add_argument("audio", metavar="AUDIO", help="a file of sound or video"))
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="a .png, .svg or .pdf file"
    )
    parser.add_argument(
        "--from", dest="from_s", type=seconds, default=0.0, metavar="S", help="first second"
    )
    parser.add_argument("--to", dest="to_s", type=seconds, metavar="S", help="last second")


def run(args: argparse.Namespace) -> int:
    """Transcribe and draw; return the exit status."""
    from ...plot import plot

    with open_model(args) as model:
        plot(
            model,
            args.audio,
            Path(args.output),
            title=Path(args.audio).name,
            from_s=args.from_s,
            to_s=args.to_s,
            delay_ms=args.delay,
        )
    return OK

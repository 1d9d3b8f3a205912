"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from ..console.arguments import Parser, count, gain, names_files, positive
from ..console.lines import complain
from ..machine import models
from ..streaming.model import Model
from ..streaming.options import DELAYS_MS, MAX_ALTERNATIVES, StreamOptions
from ..text.formats import FORMATS

MONITOR = """\
show one glyph per event on standard error: . nothing said in 80 ms, | a word is over, = text of a
token, ~ part of a character, ? other token, < one more second behind, > caught up, ! audio lost"""


def decoding() -> Parser:
    """Options of all commands that run the model."""
    parser = Parser(add_help=False)
    names_files(parser.add_argument("-m", "--model", metavar="MODEL", help=models.OPTION))
    parser.add_argument(
        "--delay",
        type=int,
        choices=DELAYS_MS,
        metavar="MS",
        help="how far text trails speech: 80 to 1200 in steps of 80, or 2400 ms; longer makes "
        "fewer errors (default: that of the model, 480 as a rule)",
    )
    parser.add_argument(
        "--threads", type=count, metavar="N", help="threads (default: what suits the model)"
    )
    parser.add_argument(
        "--window",
        type=positive,
        metavar="S",
        help="where memory is short: the decoder remembers only so many seconds, and hears "
        "otherwise than it was trained to (default: as many as it was)",
    )
    parser.add_argument("--quiet", action="store_true", help="nothing on standard error but errors")
    return parser


def writing() -> Parser:
    """Options of all commands that write the text of what they are given."""
    parser = Parser(add_help=False)
    formats(parser, FORMATS, "(default: what the name after -o ends with, or txt)")
    names_files(
        parser.add_argument(
            "-o", "--output", metavar="PATH", help="a file, or a folder for a file per format"
        )
    )
    parser.add_argument("--monitor", action="store_true", help=MONITOR)
    parser.add_argument(
        "--stats", action="store_true", help="report time and memory in a line on standard error"
    )
    return parser


def formats(parser: argparse.ArgumentParser, names: Iterable[str], otherwise: str) -> None:
    """Declare the option of formats: which there are, and what is meant without it."""
    known = [*names]

    def chosen(text: str) -> list[str]:
        wanted = list(dict.fromkeys(text.split(",")))
        for name in wanted:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return wanted

    parser.add_argument(
        "--format",
        type=chosen,
        default=[],
        metavar="LIST",
        help=f"one or more of {', '.join(known)}, with commas between them {otherwise}; times are "
        "approximate",
    )


def hearing() -> Parser:
    """Options of all commands that make text, which decide what text."""
    parser = Parser(add_help=False)
    parser.add_argument(
        "--confidence", action="store_true", help="how likely each word is (json and jsonl)"
    )
    parser.add_argument(
        "--alternatives",
        type=int,
        choices=range(1, MAX_ALTERNATIVES + 1),
        default=0,
        metavar="N",
        help=f"up to N other words for each, and how likely they are: 1 to {MAX_ALTERNATIVES} "
        "(json and jsonl)",
    )
    parser.add_argument(
        "--pad-guard",
        type=count,
        metavar="MS",
        help="help a model that has said nothing for so long, over speech as well, to speak again; "
        "a multiple of 80, 16000 suits the full model (default: never)",
    )
    parser.add_argument(
        "--silence-gate",
        type=count,
        metavar="MS",
        help="compute nothing while digital silence lasts longer than this, a multiple of 80 and "
        "at least the delay and 880 (default: compute all)",
    )
    names_files(
        parser.add_argument(
            "--words",
            type=_words,
            default=(),
            metavar="FILE",
            help="names and terms to expect, one a line, in the spelling wanted (UTF-8)",
        )
    )
    parser.add_argument(
        "--words-bonus",
        type=float,
        metavar="LOGITS",
        help="how far the model may lean towards them: above 0 and at most 10 (default: 3)",
    )
    parser.add_argument(
        "--gain",
        type=gain,
        metavar="auto|DB",
        help="make quiet speech louder, or all audio by so many dB, -60 to 60 (default: neither)",
    )
    return parser


def open_model(args: argparse.Namespace) -> Model:
    """Open the model that is meant, and say so if it is the demo model."""
    model = Model(models.chosen(args.model), threads=args.threads, window_s=args.window)
    if args.model is None and not args.quiet:
        complain(f"no --model, so the demo model is used: {model.description}")
    return model


def stream_options(args: argparse.Namespace) -> StreamOptions:
    """Return the options of a stream."""
    return {
        "delay_ms": args.delay,
        "pad_guard_ms": args.pad_guard,
        "silence_gate_ms": args.silence_gate,
        "confidence": args.confidence or args.alternatives > 0,
        "alternatives": args.alternatives,
        "words": [*args.words],
        "words_bonus": args.words_bonus,
        "gain": args.gain,
    }


def _words(path: str) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(
            f"{path} is not UTF-8 ({error}): save it so, one word a line"
        ) from error
    return [line for line in map(str.strip, text.splitlines()) if line]

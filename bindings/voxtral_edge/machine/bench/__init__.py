"""Measures speed, lag and memory of a model on this machine: what `voxtral bench` does.

measure() returns a dictionary that is written as JSON as it is; report() makes text of it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from contextlib import ExitStack
from importlib import resources
from pathlib import Path

import numpy as np

from ...audio import RATE, Samples, read
from ...console.arguments import count, names_files, positive
from ...console.lines import write
from ...console.output import Kind, Output, identities, is_picture, is_text
from ...errors import ArgumentError, AudioError
from ...streaming.options import DELAYS_MS
from .. import models
from . import streams
from .runs import CHUNKS_MS, PARTS, measure
from .tables import picture, report, report_streams

HELP = "measure speed, lag and memory"
MAX_S = 86400.0  # a day of audio, which fits into memory
PLOT_TYPES = (".png", ".svg", ".pdf")

ABOUT = """\
Measure speed, lag and memory of a model on this machine.

    voxtral bench -m MODEL --seconds 60
    voxtral bench -m MODEL --audio talk.wav --seconds 600 --parts paced --plot lag.png
    voxtral bench -m MODEL --heard 660 --parts live --chunks 480
    voxtral bench -m MODEL --seconds 60 --streams 1,4,16

offline: all audio at once. live: in chunks of 80 to 480 ms, each as soon as the one before is done.
paced: audio arrives at the speed of the clock; the run takes as long as the clip. RTF is time over
audio: below 1 keeps up. The lag of a slot is how long after the arrival of the last sample that it
needs it came out. Without --audio, the recordings that come with the package are the clip. Run it
on an idle machine.

--streams: that many streams over one model at once, instead of these parts: flat out, all audio
at once, and paced, in chunks of the longest of --chunks. Lag counts from the arrival of the chunk.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    names_files(parser.add_argument("-m", "--model", metavar="MODEL", help=models.OPTION))
    names_files(
        parser.add_argument(
            "--audio", nargs="+", metavar="FILE", help="sound files, joined to one clip"
        )
    )
    parser.add_argument(
        "--seconds", type=_length, metavar="N", help="cut or repeat the clip to this length"
    )
    parser.add_argument(
        "--delay", type=int, choices=DELAYS_MS, metavar="MS", help="(default: that of the model)"
    )
    parser.add_argument(
        "--threads", type=count, metavar="N", help="threads (default: what suits the model)"
    )
    parser.add_argument(
        "--parts", type=_parts, default=PARTS, metavar="LIST", help=f"(default: {','.join(PARTS)})"
    )
    parser.add_argument(
        "--chunks",
        type=_chunks,
        default=CHUNKS_MS,
        metavar="LIST",
        help=f"of live runs, in ms (default: {','.join(map(str, CHUNKS_MS))})",
    )
    parser.add_argument(
        "--streams",
        type=_chunks,
        metavar="LIST",
        help="how many streams at once share the model's passes",
    )
    parser.add_argument(
        "--heard",
        type=_length,
        default=0.0,
        metavar="N",
        help="seconds of the clip, over and over, that each stream has heard before it is measured",
    )
    parser.add_argument(
        "--late", type=positive, default=500.0, metavar="MS", help="lag that is late (default: 500)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the paced run's lag there")


def run(args: argparse.Namespace) -> int:
    """Run the command with parsed options; return 0."""
    if args.plot and (args.streams or "paced" not in args.parts):
        raise ArgumentError("--plot draws the paced run: add paced to --parts")
    if args.plot and args.plot.suffix not in PLOT_TYPES:
        raise ArgumentError(f"{args.plot}: its name must end with one of {', '.join(PLOT_TYPES)}")
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        raise ArgumentError(
            "--plot needs matplotlib: pip install 'voxtral-edge[plot]', or leave --plot out"
        )
    inputs = identities(args.audio or [])
    with ExitStack() as files:  # opened now, so that what cannot be written is noticed now

        def opened(path: Path | None, over: Kind) -> Output | None:
            if path is None:
                return None
            return files.enter_context(Output(path, inputs=inputs, over=over))

        numbers, drawing = opened(args.json, is_text), opened(args.plot, is_picture)
        path, clip = models.chosen(args.model), _clip(args.audio, args.seconds)
        if args.streams:
            result = streams.measure(
                path,
                clip,
                args.streams,
                chunk_ms=max(args.chunks),
                delay_ms=args.delay,
                threads=args.threads,
                heard_s=args.heard,
                late_ms=args.late,
            )
            write(report_streams(result))
        else:
            result = measure(
                path,
                clip,
                args.parts,
                delay_ms=args.delay,
                threads=args.threads,
                chunks_ms=args.chunks,
                heard_s=args.heard,
                late_ms=args.late,
            )
            write(report(result))
        if numbers:
            numbers.write((json.dumps(result, indent=1) + "\n").encode())
        if drawing:
            drawing.write(picture(result["runs"]["paced"], args.plot.suffix))
    return 0


def _clip(paths: list[str] | None, seconds: float | None) -> Samples:
    """Return sound files as one clip; None: the recordings of this package."""
    if paths is None:
        with resources.as_file(resources.files("voxtral_edge") / "samples") as folder:
            return _clip(sorted(map(str, folder.glob("*.wav"))), seconds)
    parts = [block for path in paths for block in read(path)]
    samples: Samples = np.concatenate([*parts, np.zeros(0, np.float32)])
    if not len(samples):
        raise AudioError(f"there is no sound in {', '.join(paths)}")
    if seconds is not None:
        samples = np.resize(samples, max(int(seconds * RATE), 1))
    return samples


def _length(text: str) -> float:
    """Return a length of audio in seconds."""
    value = positive(text)
    if value > MAX_S:
        raise argparse.ArgumentTypeError(f"{text} is too long: {MAX_S:g} s are the most")
    return value


def _chunks(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(count(each) for each in text.split(",")))


def _parts(text: str) -> tuple[str, ...]:
    wanted = text.split(",")
    for part in wanted:
        if part not in PARTS:
            raise argparse.ArgumentTypeError(f"{part or 'nothing'} is none of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in wanted)

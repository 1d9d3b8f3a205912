"""voxtral archive: thousands of files to text, each exactly once."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import time
from pathlib import Path

from ...archive import lists, sources, stores
from ...archive.foreman import Foreman, Tally
from ...archive.order import Order
from ...archive.results import NAME, Results
from ...archive.sources import Source
from ...archive.work import parquet, state
from ...archive.work.job import Settings
from ...archive.work.lanes import model_sha256
from ...archive.work.process import Crew, Machine
from ...archive.work.transcription import KINDS
from ...console.arguments import count, names_files, positive
from ...console.lines import complain
from ...console.output import OutputError
from ...console.progress import Line
from ...console.status import BAD_INPUT, FAILURE, OK
from ...errors import ArgumentError, AudioError
from ...machine import models
from .. import inputs
from ..options import formats, open_model, stream_options
from ..terminal import clock

STATES = ".states"  # the folder for states of long files, in the target

HELP = "transcribe thousands of files, each exactly once"

ABOUT = """\
Transcribe any number of files, and go on where an earlier run has ended, however it did.

SOURCE is a folder, a file, a list of them (.txt: a path in each line; .csv and .jsonl: path, and if
wanted id and duration_s), or an address of an object store, such as s3://bucket/talks/. For each
file TARGET gets an output per format, and TARGET/manifest.jsonl a line. What has a line is not done
again. A file that cannot be transcribed is tried once more by itself and then set aside; the line
says why, and the exit status is 2. It is 1 if this machine or the network failed: run it again.

    voxtral archive talks -o texts --format txt,srt
    voxtral archive list.csv -o texts --format jsonl --confidence
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    names_files(parser.add_argument("sources", nargs="+", metavar="SOURCE", help="what to do"))
    names_files(
        parser.add_argument(
            "-o", "--output", required=True, metavar="TARGET", help="the folder for all outputs"
        )
    )
    formats(parser, KINDS, "(default: jsonl)")
    parser.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="files at once, which share the model's passes (default: what suits processors and "
        "memory)",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="work on all nodes of the Ray cluster at this address; local: on this machine as one",
    )
    parser.add_argument(
        "--save-every",
        type=positive,
        default=600.0,
        metavar="S",
        help="how often the state of a long file is saved, in seconds (default: 600)",
    )
    parser.add_argument(
        "--patience",
        type=positive,
        default=300.0,
        metavar="S",
        help="a file that stands still for so many seconds has failed (default: 300)",
    )
    parser.add_argument(
        "--again", action="store_true", help="try what was set aside as well, if it is unchanged"
    )


def run(args: argparse.Namespace) -> int:
    """Transcribe what is missing; return the exit status."""
    target = Path(args.output)
    if target.exists() and not target.is_dir():
        raise ArgumentError(f"{target} is a file: name a folder")
    names = tuple(args.format or ["jsonl"])
    if parquet.NAME in names:
        parquet.check()
        args.confidence = True
    with open_model(args) as model:  # it is looked at before anything else is
        delay_ms = args.delay or model.default_delay_ms
        model.stream(**stream_options(args)).close()
    path = models.chosen(args.model)
    settings = Settings(
        model=None if path is None else str(path.absolute()),
        sha256=model_sha256(None if path is None else str(path)),
        threads=args.threads,
        window_s=args.window,
        n_lanes=args.workers,
        formats=names,
        options={**stream_options(args), "background": True},
        states=str(target.absolute() / STATES),
        save_s=args.save_every,
    )
    about = {
        **stream_options(args),
        "words": hashlib.sha256("\n".join(args.words).encode()).hexdigest() if args.words else None,
        "delay_ms": delay_ms,
        "formats": sorted(names),
        **({"window_s": args.window} if args.window else {}),
    }
    found, n_unusable = _find(args.sources)
    if not found:
        return BAD_INPUT
    _make(target)
    with (
        Results(target, settings.sha256, about) as results,
        contextlib.closing(_crew(args.ray, settings)) as crew,
        Line(quiet=args.quiet) as line,
    ):
        missing = results.missing(found, again=args.again)
        results.sweep(source.place for source in missing)
        state.sweep(str(target / STATES), (source.id for source in missing))
        start = time.monotonic()
        foreman = Foreman(
            Order(missing),
            crew,
            results,
            target,
            settings,
            patience_s=args.patience,
            tell=line.tell,
            show=lambda tally: line(_progress(tally, time.monotonic() - start)),
        )
        tally = foreman.run()
        n_aside, n_broken_off = results.flaws(found)
    if not args.quiet:
        complain(_summary(tally, len(found) - len(missing), n_aside, time.monotonic() - start))
    if tally.n_left:
        complain(f"{tally.n_left} files could not be reached: run it again when they can be")
        return FAILURE
    return BAD_INPUT if n_unusable or n_aside or n_broken_off else OK


def _find(words: list[str]) -> tuple[list[Source], int]:
    """Return what words name, and how much of it cannot be used, which is told."""
    found, n_unusable = list[Source](), 0

    def tell(what: Exception | str) -> None:
        nonlocal n_unusable
        complain(what)
        n_unusable += isinstance(what, Exception)

    for word in words:
        try:
            if lists.is_list(word):
                found += lists.read(word)
            elif stores.is_address(word):
                found += map(sources.of_object, stores.find(word))
            else:
                named = inputs.find(word, recursive=True, tell=tell)
                found += [sources.of_file(input.path, input.place) for input in named]
        except AudioError as error:
            tell(error)
    return sources.check(found), n_unusable


def _crew(address: str | None, settings: Settings) -> Crew:
    """Return the workers of this machine, or of the Ray cluster at an address."""
    if address is None:
        return Machine(settings)
    from ...archive.work.cluster import Cluster

    return Cluster(address, settings)


def _make(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(target), error) from error


def _progress(tally: Tally, taken_s: float) -> str:
    """Return the line of a run: hours done, speed, time left, failures."""
    done_s = tally.audio_s + tally.at_work_s
    speed = done_s / taken_s if taken_s else 0.0
    scale = tally.audio_s / tally.guessed_s if tally.guessed_s else 1.0
    left_s = max(tally.left_s * scale - tally.at_work_s, 0.0)
    left = clock(left_s / speed) if speed else "-"
    return (
        f"{tally.n_done} files, {done_s / 3600:.2f} h done, {speed:.1f}x real time, "
        f"{tally.n_left} files and {left} left, {tally.n_set_aside} failed"
    )


def _summary(tally: Tally, n_before: int, n_aside: int, taken_s: float) -> str:
    """Return the line at the end."""
    used = os.times()
    cpu_s = used.children_user + used.children_system  # 0 on Windows
    per_core = f", {tally.audio_s / cpu_s:.1f} h per core-hour" if tally.audio_s and cpu_s else ""
    before = f" ({n_before} were done before)" if n_before else ""
    aside = f", {n_aside} set aside (see {NAME})" if n_aside else ""
    return (
        f"{tally.n_done} files{before}, {tally.audio_s / 3600:.2f} h of audio in "
        f"{taken_s / 3600:.2f} h{per_core}{aside}"
    )

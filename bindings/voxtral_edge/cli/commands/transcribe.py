"""voxtral transcribe: files to text."""

from __future__ import annotations

import argparse
import time

from ...audio import RATE, Chunks, duration_s, read, read_pcm
from ...console.arguments import names_files
from ...console.lines import complain
from ...console.output import OutputError
from ...console.status import BAD_INPUT, FAILURE, OK
from ...errors import AudioError
from ...streaming.model import Model
from .. import inputs, outputs
from ..meter import Meter
from ..options import open_model, stream_options
from ..terminal import Screen, file_status, pipe_in
from ..writing import Writing, check_shown

HELP = "print the text of sound files"

ABOUT = """\
Print what is said in files of sound or video.

WAV, FLAC, Ogg, Opus, MP3, M4A, MP4, MKV, WebM and all other common kinds are read, at any rate,
channels averaged. AUDIO may be a file, a pattern in quotes, - for a pipe, or with -r a folder.
Files are read as they are needed: memory does not grow with length.

One file: its text, as it is understood. Several: a line `FILE: text` for each, in order; a file
that cannot be read or breaks off is reported, the others are still transcribed, and the exit status
is 2.

    voxtral transcribe talk.mp3                         text
    voxtral transcribe film.mkv -o film.srt             subtitles
    voxtral transcribe -r talks -o texts --format srt,json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    names_files(parser.add_argument("audio", nargs="+", metavar="AUDIO", help="what to transcribe"))
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="take the sound and video files of folders"
    )


def run(args: argparse.Namespace) -> int:
    """Transcribe files; return the exit status."""
    status = OK
    found: list[inputs.Input] = []

    def tell(what: Exception | str) -> None:
        nonlocal status
        complain(what)
        status = BAD_INPUT if isinstance(what, Exception) else status

    for word in args.audio:
        try:
            found += inputs.find(word, recursive=args.recursive, tell=tell)
        except AudioError as error:
            complain(error)
            status = BAD_INPUT
    several = len(found) > 1 or len(args.audio) > 1
    if not found:
        return status
    jobs = outputs.plan(found, args.format, args.output)
    check_shown(args, jobs)
    is_array = several and args.output is None and args.format == ["json"]
    meter = Meter()
    with open_model(args) as model, Screen.of(args) as screen:
        before = "\n"  # what stands before the next object of the array
        if is_array:
            screen.text("[")
        for job in jobs:
            head = f"{job.input.path}: " if several and job.outputs == [("txt", None)] else ""
            try:
                _run_file(job, model, meter, screen, args, head=before if is_array else head)
                before = ",\n"
            except (AudioError, OSError) as error:
                if isinstance(error, OutputError) and error.filename is None:
                    raise  # what standard output does not take, it will not take from others
                screen.complain(error)
                status = max(status, FAILURE if isinstance(error, OutputError) else BAD_INPUT)
        if is_array:
            screen.text("\n]\n")
    if args.stats:
        complain(meter.report())
    return status


def _run_file(
    job: outputs.Job,
    model: Model,
    meter: Meter,
    screen: Screen,
    args: argparse.Namespace,
    head: str,
) -> None:
    """Transcribe one input; `head`: what its text on standard output opens with."""
    path = job.input.path
    total_s = duration_s(path) if screen.has_status and path != inputs.STDIN else None
    before = meter.n_samples
    start = time.monotonic()
    parts = Chunks(read_pcm(pipe_in()) if path == inputs.STDIN else read(path))
    with Writing(job, model, screen, args.delay, head) as writing:
        for slot in model.slots(meter.count(parts), **stream_options(args)):
            writing.slot(slot)
            screen.slot(slot, model, 0.0)
            done_s = min(slot.end_ms / 1000, (meter.n_samples - before) / RATE)
            if screen.is_due():
                taken_s = time.monotonic() - start
                screen.status(file_status(path, done_s, total_s, taken_s))
        if meter.n_samples == before:
            raise AudioError(f"{path} holds no samples: record or copy it again")
        writing.end((meter.n_samples - before) / RATE)
    parts.check()

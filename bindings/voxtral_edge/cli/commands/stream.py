"""voxtral stream: speech to text while it is spoken."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from ...audio import RATE, Chunks, Samples
from ...audio.live import Live, Microphone, Pipe
from ...audio.loudness import MUTED_DBFS, QUIET_DBFS, dbfs
from ...console.lines import complain
from ...console.status import OK
from ...errors import ArgumentError, AudioError
from ...streaming.model import Model
from ...text.turns import turns_of
from .. import inputs, outputs
from ..meter import Meter
from ..options import open_model, stream_options
from ..terminal import LOST, Interrupt, Screen, live_status, pipe_in
from ..writing import Writing, check_shown

BEHIND_S = 10.0  # lag that is worth a line, and the next one when it has doubled
HELP = "print the text of speech while it is spoken"

ABOUT = """\
Print what is said while it is being said, by a microphone or on standard input.

    voxtral stream --mic
    arecord -q -f S16_LE -r 16000 -c 1 -t raw | voxtral stream -
    parec --format=s16le --rate=16000 --channels=1 | voxtral stream -
    ffmpeg -v error -i http://... -f wav - | voxtral stream - --lines

A pipe carries WAV, MP3, AAC, Ogg, WebM or what else can be read without going back; what can be
nothing else is raw 16-bit little-endian mono at 16 kHz. At its end, or at the first Ctrl-C, the
last words are printed and the exit status is 0. A second Ctrl-C stops at once with 130. With -o,
text goes to the file as well as to the terminal.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("audio", nargs="?", choices=["-"], metavar="-", help="standard input")
    parser.add_argument("--mic", action="store_true", help="listen to a microphone")
    parser.add_argument(
        "--device", metavar="N", help="its number or a part of its name (see voxtral devices)"
    )
    parser.add_argument(
        "--raw", action="store_true", help="the input is raw samples, whatever its first bytes are"
    )
    parser.add_argument(
        "--lines", action="store_true", help="begin a new line when somebody has finished (txt)"
    )


def run(args: argparse.Namespace) -> int:
    """Transcribe what is being said; return the exit status."""
    is_mic = args.mic or args.device is not None
    if is_mic == (args.audio is not None):
        raise ArgumentError("name one source: voxtral stream --mic, or voxtral stream - for a pipe")
    meter = Meter()
    source = inputs.Input(inputs.STDIN, Path("stream"))
    (job,) = outputs.plan([source], args.format, args.output)
    check_shown(args, [job])
    if args.lines and "txt" not in (format for format, _ in job.outputs):
        raise ArgumentError("only txt has --lines: leave it out, or add --format txt")
    if job.outputs[0][1] is not None:
        job.outputs.append(("txt", None))
    with contextlib.ExitStack() as stack:
        live: Live
        if is_mic:
            device = args.device
            number = int(device) if re.fullmatch("[0-9]{1,9}", device or "") else device
            live = microphone = Microphone(number)
            model = stack.enter_context(open_model(args))
            stack.enter_context(microphone)
        else:
            pipe = pipe_in()
            model = stack.enter_context(open_model(args))
            live = Pipe(pipe, raw=args.raw)
        interrupt = stack.enter_context(Interrupt(live))
        screen = stack.enter_context(Screen.of(args))
        _run_live(job, live, interrupt, model, meter, screen, args)
        if not meter.n_samples and not interrupt.asked:
            raise AudioError("no audio came: check the program before the pipe")
        if is_mic and not args.quiet and args.gain is None:
            _tell_loudness(meter)
    if args.stats:
        complain(meter.report())
    return OK


def _tell_loudness(meter: Meter) -> None:
    loudest = dbfs(meter.loudest)
    if loudest < MUTED_DBFS:
        complain("the microphone heard nothing at all: see whether it is muted")
    elif loudest < QUIET_DBFS:
        complain(
            f"the loudest sample was at {loudest:.0f} dBFS, too quiet for speech: turn the "
            "microphone up, or use --gain auto"
        )


def _run_live(
    job: outputs.Job,
    live: Live,
    interrupt: Interrupt,
    model: Model,
    meter: Meter,
    screen: Screen,
    args: argparse.Namespace,
) -> None:
    """Transcribe a live source, and tell what it loses and how far the text falls behind."""
    delay_s = (args.delay or model.default_delay_ms) / 1000
    lost_s, told_s = 0.0, BEHIND_S
    parts = Chunks(live)
    turns = None
    if args.lines:
        turns = turns_of(model, delay_ms=args.delay or model.default_delay_ms)

    def heard() -> Iterator[Samples]:
        for chunk in meter.count(parts):
            if turns:
                turns.hear(chunk)
            yield chunk

    with Writing(job, model, screen, args.delay, "") as writing:
        for slot in model.slots(heard(), **stream_options(args)):
            writing.slot(slot)
            for turn in turns.push(slot) if turns else ():
                writing.turn(turn)
            done_s = slot.end_ms / 1000
            behind_s = max(live.n_received / RATE - done_s - delay_s, 0.0)
            screen.slot(slot, model, behind_s)
            if live.lost_s > lost_s:
                screen.event(LOST)
                screen.complain(
                    f"the device lost {live.lost_s - lost_s:.2f} s of audio near {done_s:.1f} s: "
                    "the machine was too busy to take it"
                )
                lost_s = live.lost_s
            if behind_s >= told_s and not args.quiet:
                screen.complain(
                    f"{behind_s:.0f} s of audio wait: it comes faster than this machine "
                    "transcribes it; nothing is lost"
                )
                told_s = 2 * behind_s
            if screen.is_due():
                screen.status(
                    live_status(
                        live.n_received / RATE,
                        meter.level,
                        behind_s,
                        meter.rtf,
                        is_ending=interrupt.asked,
                        is_quiet=meter.is_quiet and args.gain is None,
                    )
                )
        writing.end(meter.audio_s)
    parts.check()

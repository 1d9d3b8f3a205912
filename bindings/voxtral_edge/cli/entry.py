"""The `voxtral` command and its subcommands.

Text goes to standard output or to files, all else to standard error. Whatever the user can mend is
told in one line, without a traceback. Exit status: 0 all is well; 1 a failure of the machine
(memory, a full disk, the computation); 2 input that cannot be used (options, model, audio, a
microphone or a package that is missing); 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP; 141 nobody reads
standard output any more, which is no error worth a word.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from .. import __version__
from ..audio import RATE, Chunks, Samples, duration_s, read, read_pcm
from ..audio.live import Live, Microphone, Pipe, devices
from ..console.output import OutputError, sweep
from ..errors import ArgumentError, AudioError, ComputeError, StreamError, VoxtralError
from ..machine import bench, doctor, models
from ..serve import command as serve
from ..streaming.model import Model
from ..streaming.options import DELAYS_MS, MAX_ALTERNATIVES
from ..text.formats import FORMATS, Feed, Origin
from ..text.pieces import Piece
from . import inputs, outputs, terminal
from .terminal import (
    SIGNALLED,
    STOPS,
    Interrupt,
    Screen,
    Stopped,
    complain,
    pipe_in,
    stoppable,
    write,
)

OK, FAILURE, BAD_INPUT = 0, 1, 2
INTERRUPTED, UNREAD = SIGNALLED + signal.SIGINT, SIGNALLED + signal.SIGPIPE
FAILURES = (ComputeError, MemoryError, StreamError)  # what is no fault of the input

BEHIND_S = 10.0  # lag that is worth a line, and the next one when it has doubled
SHELLS = ("bash", "zsh", "fish")

TRANSCRIBE = """\
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

STREAM = """\
Print what is said while it is being said, by a microphone or on standard input.

    voxtral stream --mic
    arecord -q -f S16_LE -r 16000 -c 1 -t raw | voxtral stream -
    parec --format=s16le --rate=16000 --channels=1 | voxtral stream -
    ffmpeg -v error -i http://... -f wav - | voxtral stream -

A pipe carries WAV, MP3, AAC, Ogg, WebM or what else can be read without going back; what can be
nothing else is raw 16-bit little-endian mono at 16 kHz. At its end, or at the first Ctrl-C, the
last words are printed and the exit status is 0. A second Ctrl-C stops at once with 130. With -o,
text goes to the file as well as to the terminal.
"""

MONITOR = """\
show one glyph per event on standard error: . nothing said in 80 ms, | a word is over, = text of a
token, ~ part of a character, ? other token, < one more second behind, > caught up, ! audio lost"""

PLOT = """\
Draw a transcript: waveform, mel, words at their times, and the token of every 80 ms.

In the lane of tokens, dots are pads, bars are markers (a word has ended), boxes are text. Times of
words are approximate. At most two minutes fit; --from and --to choose them.
"""

MODELS = """\
List the models in the data directory, where voxtral convert puts those that are given no place:
name, type, size, date, and what they were converted from.

    voxtral models                  list them
    voxtral models verify NAME      compare a file with the hash it was written with
    voxtral models remove NAME      remove a file

Everywhere -m takes the path of a file, it takes NAME, the beginning of it, or ORG/NAME of the hub,
as long as a single model is meant. The checkpoints that were downloaded are in the hub's cache,
which the command hf cache lists and empties.
"""

COMPLETION = """\
Print the completion script of a shell. To use it:

    bash    voxtral completion bash > ~/.local/share/bash-completion/completions/voxtral
    zsh     voxtral completion zsh > DIR/_voxtral, DIR being one of $fpath
    fish    voxtral completion fish > ~/.config/fish/completions/voxtral.fish
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others of this command."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"voxtral: {message} (see {self.prog} --help)\n")


class _Meter:
    """Counts audio and time as blocks pass, and how loud the last one was."""

    def __init__(self) -> None:
        self.n_samples = 0
        self.level = 0.0
        self.start = time.monotonic()
        self.waited_s = 0.0  # for audio, while nothing could be computed

    def count(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Pass blocks on."""
        source = iter(blocks)
        while True:
            begun = time.monotonic()
            block = next(source, None)
            self.waited_s += time.monotonic() - begun
            if block is None:
                return
            self.n_samples += len(block)
            self.level = float(np.abs(block).max(initial=0.0))
            yield block

    @property
    def audio_s(self) -> float:
        """Seconds of audio so far."""
        return self.n_samples / RATE

    @property
    def rtf(self) -> float:
        """Computing time per second of audio."""
        taken_s = time.monotonic() - self.start - self.waited_s
        return taken_s / self.audio_s if self.n_samples else 0.0

    def report(self) -> str:
        """Return the line of --stats."""
        taken_s = time.monotonic() - self.start
        rtf = f"{taken_s / self.audio_s:.3f}" if self.n_samples else "-"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
        return f"{self.audio_s:.2f} s of audio in {taken_s:.2f} s, RTF {rtf}, peak {peak:.0f} MiB"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with its arguments (None: those of the process); return the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:  # it was closed; messages must not end up anywhere else
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (for as long as the process lives)
    try:
        with stoppable(*STOPS):
            try:
                return _run(argv)
            finally:
                sweep()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Stopped as stopped:
        return SIGNALLED + stopped.number
    except OutputError as error:
        if error.filename is None:
            # Python flushes standard output once more when it exits; nothing may come of that.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error.__cause__, BrokenPipeError):
            return UNREAD
        complain(error)
        return FAILURE
    except (VoxtralError, OSError, MemoryError, ImportError) as error:
        complain(error)
        return FAILURE if isinstance(error, FAILURES) else BAD_INPUT


def _run(argv: list[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # UTF-8 whatever the locale says, and file names as the bytes that they are.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        if argv[:1] == ["convert"]:
            from ..convert import convert_voxtral

            return convert_voxtral.main(argv[1:])
        args = _parser().parse_args(argv)
    except SystemExit as end:
        if not end.code:
            write("")  # help is still on its way
        raise
    command: Callable[[argparse.Namespace], int] = args.command
    return command(args)


# ---- options ------------------------------------------------------------------------------------


def _parser(convert: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """Return the parser; `convert`: that of the converter, which is slow to import."""
    parser = _Parser(
        prog="voxtral",
        description="Streaming speech to text on an ordinary CPU.",
        epilog="voxtral COMMAND --help explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"voxtral {__version__}")
    commands: argparse._SubParsersAction[argparse.ArgumentParser] = parser.add_subparsers(
        metavar="COMMAND", required=True, parser_class=_Parser
    )
    decoding, writing = _decoding(), _writing()

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        help: str,
        about: str,
        *parents: argparse.ArgumentParser,
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=help,
            description=about,
            parents=parents,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(command=run)
        return command

    command = add(
        "transcribe", _transcribe, "print the text of sound files", TRANSCRIBE, decoding, writing
    )
    _files(command.add_argument("audio", nargs="+", metavar="AUDIO", help="what to transcribe"))
    command.add_argument(
        "-r", "--recursive", action="store_true", help="take the sound and video files of folders"
    )

    command = add(
        "stream", _stream, "print the text of speech while it is spoken", STREAM, decoding, writing
    )
    command.add_argument("audio", nargs="?", choices=["-"], metavar="-", help="standard input")
    command.add_argument("--mic", action="store_true", help="listen to a microphone")
    command.add_argument(
        "--device", metavar="N", help="its number or a part of its name (see voxtral devices)"
    )
    command.add_argument(
        "--raw", action="store_true", help="the input is raw samples, whatever its first bytes are"
    )

    command = add("plot", _plot, "draw a transcript", PLOT, decoding)
    _files(command.add_argument("audio", metavar="AUDIO", help="a file of sound or video"))
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="a .png, .svg or .pdf file"
    )
    command.add_argument(
        "--from", dest="from_s", type=_seconds, default=0.0, metavar="S", help="first second"
    )
    command.add_argument("--to", dest="to_s", type=_seconds, metavar="S", help="last second")

    command = add("serve", serve.run, "answer other programs", serve.ABOUT, decoding)
    serve.add_arguments(command)

    command = commands.add_parser("devices", help="list the microphones")
    command.set_defaults(command=_devices)

    commands.add_parser(
        "convert",
        help="make a GGUF file from a checkpoint",
        parents=[convert] if convert else [],
        add_help=False,
    )

    command = add("models", _models, "list, verify and remove converted models", MODELS)
    verbs = command.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    for verb, run, help in (
        ("verify", _verify, "compare a model with the hash it was written with"),
        ("remove", _remove, "remove a model"),
    ):
        command = verbs.add_parser(verb, help=help, description=help.capitalize() + ".")
        command.add_argument("name", metavar="NAME", help="as voxtral models lists it")
        command.add_argument("--quiet", action="store_true", help="say nothing unless it fails")
        command.set_defaults(command=run)

    command = commands.add_parser("inspect", help="describe a model file or a checkpoint")
    _files(
        command.add_argument(
            "path", metavar="PATH", help="a GGUF or safetensors file, or the folder of a checkpoint"
        )
    )
    command.add_argument("--filter", metavar="REGEX", help="list only tensors so named")
    command.set_defaults(command=_inspect)

    command = commands.add_parser(
        "bench",
        help="measure speed, lag and memory",
        description=bench.ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_arguments(command)
    command.set_defaults(command=bench.run)

    command = commands.add_parser(
        "doctor",
        help="look at this machine, test, and estimate the speed",
        description=doctor.ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_arguments(command)
    command.set_defaults(command=doctor.run)

    command = add("completion", _completion, "print the completion script of a shell", COMPLETION)
    command.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def _decoding() -> _Parser:
    """Options of all commands that run the model."""
    parser = _Parser(add_help=False)
    _files(parser.add_argument("-m", "--model", metavar="MODEL", help=models.OPTION))
    parser.add_argument(
        "--delay",
        type=int,
        choices=DELAYS_MS,
        metavar="MS",
        help="how far text trails speech: 80 to 1200 in steps of 80, or 2400 ms; longer makes "
        "fewer errors (default: that of the model, 480 as a rule)",
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="threads (default: what suits the model)"
    )
    parser.add_argument("--quiet", action="store_true", help="nothing on standard error but errors")
    return parser


def _writing() -> _Parser:
    """Options of all commands that write text."""
    parser = _Parser(add_help=False)
    parser.add_argument(
        "--format",
        type=_formats,
        default=[],
        metavar="LIST",
        help=f"one or more of {', '.join(FORMATS)}, with commas between them (default: what the "
        "name after -o ends with, or txt); times are approximate",
    )
    _files(
        parser.add_argument(
            "-o", "--output", metavar="PATH", help="a file, or a folder for a file per format"
        )
    )
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
        type=_positive,
        metavar="MS",
        help="help a model that has said nothing for so long, over speech as well, to speak again; "
        "a multiple of 80, 16000 suits the full model (default: never)",
    )
    parser.add_argument(
        "--silence-gate",
        type=_positive,
        metavar="MS",
        help="compute nothing while digital silence lasts longer than this, a multiple of 80 and "
        "at least the delay and 880 (default: compute all)",
    )
    parser.add_argument("--monitor", action="store_true", help=MONITOR)
    parser.add_argument(
        "--stats", action="store_true", help="report time and memory in a line on standard error"
    )
    return parser


def _files(action: argparse.Action) -> None:
    """Let shells complete an option or argument with the names of files."""
    action.complete = {  # type: ignore[attr-defined]
        "bash": "_shtab_compgen_files",
        "zsh": "_files",
        "fish": "__fish_complete_path",
    }


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def _formats(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(FORMATS)}")
    return names


# ---- commands -----------------------------------------------------------------------------------


def _transcribe(args: argparse.Namespace) -> int:
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
    _check_shown(args, jobs)
    is_array = several and args.output is None and args.format == ["json"]
    meter = _Meter()
    with _open_model(args) as model, _screen(args) as screen:
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
    meter: _Meter,
    screen: Screen,
    args: argparse.Namespace,
    head: str,
) -> None:
    """Transcribe one input; `head`: what its text on standard output opens with."""
    path = job.input.path
    total_s = duration_s(path) if screen.has_status and path != inputs.STDIN else None
    done = meter.audio_s
    start = time.monotonic()
    parts = Chunks(read_pcm(pipe_in()) if path == inputs.STDIN else read(path))
    with _Writing(job, model, screen, args.delay, head) as writing:
        for slot in model.slots(meter.count(parts), **_options(args)):
            writing.slot(slot)
            screen.slot(slot, model, 0.0)
            done_s = min(slot.end_ms / 1000, meter.audio_s - done)
            if screen.is_due():
                taken_s = time.monotonic() - start
                screen.status(terminal.file_status(path, done_s, total_s, taken_s))
        if meter.audio_s == done:
            raise AudioError(f"{path} holds no samples: record or copy it again")
        writing.end(meter.audio_s - done)
    parts.check()


def _stream(args: argparse.Namespace) -> int:
    is_mic = args.mic or args.device is not None
    if is_mic == (args.audio is not None):
        raise ArgumentError("name one source: voxtral stream --mic, or voxtral stream - for a pipe")
    meter = _Meter()
    source = inputs.Input(inputs.STDIN, Path("stream"))
    (job,) = outputs.plan([source], args.format, args.output)
    _check_shown(args, [job])
    if job.outputs[0][1] is not None:
        job.outputs.append(("txt", None))
    with contextlib.ExitStack() as stack:
        live: Live
        if is_mic:
            device = args.device
            number = int(device) if device is not None and device.isdecimal() else device
            live = microphone = Microphone(number)
            model = stack.enter_context(_open_model(args))
            stack.enter_context(microphone)
        else:
            pipe = pipe_in()
            model = stack.enter_context(_open_model(args))
            live = Pipe(pipe, raw=args.raw)
        interrupt = stack.enter_context(Interrupt(live))
        screen = stack.enter_context(_screen(args))
        _run_live(job, live, interrupt, model, meter, screen, args)
        if not meter.n_samples and not interrupt.asked:
            raise AudioError("no audio came: check the program before the pipe")
    if args.stats:
        complain(meter.report())
    return OK


def _run_live(
    job: outputs.Job,
    live: Live,
    interrupt: Interrupt,
    model: Model,
    meter: _Meter,
    screen: Screen,
    args: argparse.Namespace,
) -> None:
    """Transcribe a live source, and tell what it loses and how far the text falls behind."""
    delay_s = (args.delay or model.default_delay_ms) / 1000
    lost_s, told_s = 0.0, BEHIND_S
    parts = Chunks(live)
    with _Writing(job, model, screen, args.delay, "") as writing:
        slots = model.slots(meter.count(parts), **_options(args))
        for slot in slots:
            writing.slot(slot)
            done_s = slot.end_ms / 1000
            behind_s = max(live.n_received / RATE - done_s - delay_s, 0.0)
            screen.slot(slot, model, behind_s)
            if live.lost_s > lost_s:
                screen.event(terminal.LOST)
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
                    terminal.live_status(
                        live.n_received / RATE,
                        meter.level,
                        behind_s,
                        meter.rtf,
                        is_ending=interrupt.asked,
                    )
                )
        writing.end(meter.audio_s)
    parts.check()


def _plot(args: argparse.Namespace) -> int:
    from ..plot import plot

    with _open_model(args) as model:
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


def _devices(args: argparse.Namespace) -> int:
    found = devices()
    if not found:
        raise AudioError("there is no microphone: plug one in")
    for device in found:
        mark = "  (default)" if device.is_default else ""
        write(
            f"{device.index:3}  {device.name}  {device.n_channels} channels, "
            f"{device.rate:g} Hz{mark}\n"
        )
    return OK


def _models(args: argparse.Namespace) -> int:
    rows = [
        (
            model.name,
            model.type or "damaged",
            f"{model.n_bytes / 1e6:,.1f} MB",
            model.converted.isoformat() if model.converted else "-",
            model.source or "-",
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
    from ..convert.progress import Bar

    n_bytes = models.find(args.name).stat().st_size
    with contextlib.nullcontext() if args.quiet else Bar("verify", n_bytes) as progress:
        model = models.verify(args.name, progress)
    if not args.quiet:
        write(f"{model.name}: whole, SHA-256 {model.sha256}\n")
    return OK


def _remove(args: argparse.Namespace) -> int:
    model = models.remove(args.name)
    if not args.quiet:
        write(f"{model.name}: removed, {model.n_bytes / 1e6:,.1f} MB\n")
    return OK


def _inspect(args: argparse.Namespace) -> int:
    from ..machine.inspect import inspect

    path = Path(args.path)
    write(inspect(path if path.exists() else models.find(path), args.filter))
    return OK


def _completion(args: argparse.Namespace) -> int:
    import shtab

    from ..convert import convert_voxtral

    write(shtab.complete(_parser(convert_voxtral.parser()), args.shell) + "\n")
    return OK


# ---- text out -----------------------------------------------------------------------------------


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of a stream."""
    return {
        "delay_ms": args.delay,
        "pad_guard_ms": args.pad_guard,
        "silence_gate_ms": args.silence_gate,
        "confidence": args.confidence or args.alternatives > 0,
        "alternatives": args.alternatives,
    }


def _check_shown(args: argparse.Namespace, jobs: Sequence[outputs.Job]) -> None:
    """Refuse to compute what would not be seen."""
    formats = {format for job in jobs for format, _ in job.outputs}
    if (args.confidence or args.alternatives) and not formats & {"json", "jsonl"}:
        raise ArgumentError(
            "only json and jsonl show --confidence and --alternatives: add --format json"
        )


class _Writing:
    """The text of one input on its way to standard output and files, which become whole or not."""

    def __init__(
        self, job: outputs.Job, model: Model, screen: Screen, delay_ms: int | None, head: str
    ) -> None:
        name = None if job.input.path == inputs.STDIN else _plain(job.input.path)
        origin = Origin(name, model.name, delay_ms or model.default_delay_ms)
        self._feed = Feed(model, [FORMATS[format](origin) for format, _ in job.outputs])
        self._files = [output for _, output in job.outputs]
        self._screen, self._head = screen, head

    def __enter__(self) -> _Writing:
        with contextlib.ExitStack() as stack:
            for file in self._files:
                if file:
                    stack.enter_context(file)
            self._write(self._feed.begin())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def slot(self, slot: Piece) -> None:
        """Take the next slot."""
        self._write(self._feed.slot(slot))

    def end(self, duration_s: float) -> None:
        """Take the end of the audio."""
        texts = self._feed.end(duration_s)
        if self._head.isspace():  # an object in an array, which brings the line ends itself
            texts = [text.rstrip("\n") for text in texts]
        self._write(texts)

    def _write(self, texts: list[str]) -> None:
        for file, text in zip(self._files, texts, strict=True):
            if not text:
                continue
            if file:
                file.write(text.encode())
            else:
                self._screen.text(self._head + text)
                self._head = ""


def _plain(path: str) -> str:
    """Return a file name as text that can be written anywhere."""
    return os.fsencode(path).decode(errors="replace")


def _screen(args: argparse.Namespace) -> Screen:
    return Screen(quiet=args.quiet, monitor=args.monitor)


def _open_model(args: argparse.Namespace) -> Model:
    model = Model(models.chosen(args.model), threads=args.threads)
    if args.model is None and not args.quiet:
        complain(f"no --model, so the demo model is used: {model.description}")
    return model

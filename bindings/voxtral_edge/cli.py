"""The `voxtral` command: transcribe, stream, convert, inspect, bench.

Text and JSON go to standard output, all else to standard error. Whatever the user can mend is told
in one line, without a traceback. Exit status: 0 all is well; 1 a failure of the machine (memory,
a full disk, the computation); 2 input that cannot be used (options, model, audio); 130 Ctrl-C;
141 nobody reads standard output any more, which is no error worth a word.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import NoReturn

from . import __version__, bench
from .audio import Samples, read, read_pcm
from .errors import AudioError, ComputeError, StreamError, VoxtralError
from .model import Model
from .stream import DELAYS_MS, Piece, Transcript
from .terminal import Interrupt, OutputError, complain, pipe_in, write
from .wav import RATE

OK, FAILURE, BAD_INPUT, INTERRUPTED, UNREAD = 0, 1, 2, 128 + signal.SIGINT, 128 + signal.SIGPIPE
FAILURES = (ComputeError, MemoryError, StreamError)  # what is no fault of the input

TRANSCRIBE = """\
Print what is said in sound files (WAV, FLAC, Ogg, MP3; any rate, channels are averaged).

One file: its text, as it is understood. Several files: a line `FILE: text` for each, in order; a
file that cannot be read is reported, the others are still transcribed, and the exit status is 2.
--format json: one object, or an array of objects if there are several files, with the keys file,
text, duration_s, model, delay_ms, pieces (text, start_ms, end_ms, token) and tokens (every slot).
"""

STREAM = """\
Print what is said on standard input while it is being said.

The input is raw 16-bit little-endian mono at 16 kHz, or a WAV stream of any rate:
    arecord -q -f S16_LE -r 16000 -c 1 -t raw | voxtral stream -
    ffmpeg -v error -i http://... -f wav - | voxtral stream -
At its end, or at the first Ctrl-C, the last words are printed and the exit status is 0. A second
Ctrl-C stops at once with 130.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others of this command."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"voxtral: {message} (see {self.prog} --help)\n")


class _Stats:
    """Counts the audio that passes and, if --stats asks for it, reports in the end."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.wanted = args.stats
        self.n_samples = 0

    def __enter__(self) -> _Stats:
        self.start = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.wanted:
            return
        audio, taken = self.n_samples / RATE, time.monotonic() - self.start
        rtf = f"{taken / audio:.3f}" if audio else "-"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
        print(
            f"voxtral: {audio:.2f} s of audio in {taken:.2f} s, RTF {rtf}, peak {peak:.0f} MiB",
            file=sys.stderr,
        )

    def count(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Pass blocks on."""
        for block in blocks:
            self.n_samples += len(block)
            yield block


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with its arguments (None: those of the process); return the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv[:1] == ["convert"]:
            from .convert import convert_voxtral

            return convert_voxtral.main(argv[1:])
        args = _parser().parse_args(argv)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # UTF-8 whatever the locale says, and file names as the bytes that they are.
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        command: Callable[[argparse.Namespace], int] = args.command
        return command(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OutputError as error:
        # Python flushes standard output once more when it exits; nothing may come of that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error.__cause__, BrokenPipeError):
            return UNREAD
        complain(error)
        return FAILURE
    except (VoxtralError, OSError, MemoryError) as error:
        complain(error)
        return FAILURE if isinstance(error, FAILURES) else BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="voxtral",
        description="Streaming speech to text on an ordinary CPU.",
        epilog="voxtral COMMAND --help explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"voxtral {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    decoding = _Parser(add_help=False)
    decoding.add_argument(
        "-m", "--model", metavar="MODEL", help="a GGUF file (default: the embedded demo model)"
    )
    decoding.add_argument(
        "--delay",
        type=int,
        choices=DELAYS_MS,
        metavar="MS",
        help="how far text trails speech: 80 to 1200 in steps of 80, or 2400 ms; longer makes "
        "fewer errors (default: that of the model, 480 as a rule)",
    )
    decoding.add_argument(
        "--threads", type=_positive, metavar="N", help="threads (default: what suits the model)"
    )
    decoding.add_argument(
        "--stats", action="store_true", help="report time and memory in a line on standard error"
    )

    def add(name: str, run: Callable[[argparse.Namespace], int], help: str, about: str) -> _Parser:
        command = commands.add_parser(
            name,
            help=help,
            description=about,
            parents=[decoding],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(command=run)
        return command

    command = add("transcribe", _transcribe, "print the text of sound files", TRANSCRIBE)
    command.add_argument("audio", nargs="+", metavar="AUDIO", help="a sound file; - for a pipe")
    command.add_argument("--format", choices=["txt", "json"], default="txt", help="(default: txt)")

    command = add("stream", _stream, "print the text of a pipe while it is spoken", STREAM)
    command.add_argument("audio", choices=["-"], metavar="-", help="standard input")
    command.add_argument(
        "--raw", action="store_true", help="the input is raw samples, whatever its first bytes are"
    )

    commands.add_parser("convert", help="make a GGUF file from a checkpoint", add_help=False)

    command = commands.add_parser("inspect", help="describe a model file or a checkpoint")
    command.add_argument(
        "path", metavar="PATH", help="a GGUF or safetensors file, or the folder of a checkpoint"
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
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def _transcribe(args: argparse.Namespace) -> int:
    several, as_json, status = len(args.audio) > 1, args.format == "json", OK
    with _open_model(args) as model, _Stats(args) as stats:
        before = "\n" if several else ""  # what stands before the next object
        if as_json and several:
            write("[")
        for path in args.audio:
            blocks = stats.count(read_pcm(pipe_in()) if path == "-" else read(path))
            try:
                if as_json:
                    write(
                        before
                        + _json(
                            path, model, args.delay, model.transcribe(blocks, delay_ms=args.delay)
                        )
                    )
                    before = ",\n"
                else:
                    _say(model.pieces(blocks, delay_ms=args.delay), f"{path}: " if several else "")
            except (AudioError, OSError) as error:
                complain(error)
                status = BAD_INPUT
        if as_json and (several or status == OK):
            write("\n]\n" if several else "\n")
    return status


def _stream(args: argparse.Namespace) -> int:
    pipe = pipe_in()
    with _open_model(args) as model, _Stats(args) as stats, Interrupt() as interrupt:
        blocks = stats.count(interrupt.until(read_pcm(pipe, raw=args.raw)))
        _say(model.pieces(blocks, delay_ms=args.delay))
    return OK


def _inspect(args: argparse.Namespace) -> int:
    from .inspect import inspect

    write(inspect(args.path, args.filter))
    return OK


def _open_model(args: argparse.Namespace) -> Model:
    model = Model(args.model, threads=args.threads)
    if args.model is None:
        about = f"voxtral: no --model, so the demo model is used: {model.description}"
        print(about.replace("\n", " "), file=sys.stderr)
    return model


def _say(pieces: Iterable[Piece], prefix: str = "") -> None:
    """Print pieces as they come, in one line that opens with a prefix."""
    said = False
    try:
        for piece in pieces:
            text = piece.text if said else piece.text.lstrip()
            if text:
                write(text if said else prefix + text)
                said = True
        write("\n" if said else f"{prefix}\n")
    except (VoxtralError, OSError):
        if said:
            write("\n")  # so that the line about the error stands alone
        raise


def _json(path: str, model: Model, delay_ms: int | None, transcript: Transcript) -> str:
    return json.dumps(
        {
            "file": os.fsencode(path).decode(errors="replace"),
            "text": transcript.text,
            "duration_s": transcript.duration_s,
            "model": model.name,
            "delay_ms": delay_ms or model.default_delay_ms,
            "pieces": [asdict(piece) for piece in transcript.pieces],
            "tokens": transcript.tokens,
        },
        ensure_ascii=False,
    )

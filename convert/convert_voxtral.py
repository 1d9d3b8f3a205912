"""The command line of the converter: a checkpoint folder to a GGUF file.

    python convert/convert_voxtral.py CHECKPOINT model.gguf [--type q4_0] [--verify]

runs from a clone once the package is installed; `voxtral convert` is the same. Exit status: 0 all
is well; 1 the file cannot be written; 2 the checkpoint or an option cannot be used; 130 Ctrl-C;
143 terminated. Whatever happens, no half file stays behind and an old file is kept until the new
one is whole.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from voxtral_edge.convert import (
    FILE_TYPES,
    Checkpoint,
    ConversionError,
    convert,
    convert_decoder,
    verify,
)
from voxtral_edge.convert.conversion import Progress
from voxtral_edge.convert.progress import Bar

OK, FAILURE, BAD_INPUT, SIGNALLED = 0, 1, 2, 128

STOPS = (signal.SIGINT, signal.SIGTERM)

ABOUT = """\
Convert a Voxtral Realtime checkpoint to one GGUF file.

CHECKPOINT is a folder with params.json, consolidated.safetensors and tekken.json (the official
layout, which wins if both are there), or with config.json, model*.safetensors and tekken.json (the
transformers layout). The weights are read once, a slice at a time.
"""


class _Stopped(BaseException):
    """A signal asked to stop; its number is the argument."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"voxtral: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run with arguments (None: those of the process); return the exit status."""
    options = parser()
    args = options.parse_args(argv)
    if args.delay and not args.decoder_only:
        options.error("--delay needs --decoder-only: other files serve every delay")
    previous = {number: signal.signal(number, _stop) for number in STOPS}
    try:
        _run(args)
    except _Stopped as stopped:
        return SIGNALLED + int(stopped.args[0])
    except ConversionError as error:
        return _complain(str(error), BAD_INPUT)
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}", FAILURE)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return OK


def _run(args: argparse.Namespace) -> None:
    start = time.monotonic()
    with _progress("convert", args) as progress:
        write, options = convert, {}
        if args.decoder_only:
            write, options = convert_decoder, {"delay_ms": args.delay}
        made = write(
            args.checkpoint,
            args.target,
            **options,
            type=args.type,
            name=args.name,
            description=args.description,
            license=args.license,
            threads=args.threads,
            progress=progress,
        )
    types = ", ".join(f"{n / 1e6:,.1f} MB {name}" for name, n in sorted(made.types.items()))
    _say(
        args,
        f"{made.path}: {made.n_bytes / 1e6:,.1f} MB, {made.n_tensors} tensors, "
        f"{made.n_params / 1e6:,.1f} M parameters ({types}), {time.monotonic() - start:.1f} s",
    )
    if not args.verify:
        return
    with _progress("verify", args) as progress:
        deviations = verify(args.checkpoint, args.target, threads=args.threads, progress=progress)
    for name, found in sorted(deviations.items()):
        _say(
            args,
            f"verified {name}: {found.n:,} values, max error {found.max_error:.3g} "
            f"({found.limit_share:.0%} of the limit), rms error {found.rms_error:.3g}",
        )


def _progress(
    verb: str, args: argparse.Namespace
) -> contextlib.AbstractContextManager[Progress | None]:
    if args.quiet:
        return contextlib.nullcontext()
    with Checkpoint(args.checkpoint) as source:
        bar: Bar = Bar(verb, source.n_bytes)
    return bar


def _say(args: argparse.Namespace, line: str) -> None:
    if not args.quiet:
        print(line, flush=True)


def _complain(message: str, status: int) -> int:
    print("voxtral: " + message.replace("\n", " "), file=sys.stderr)
    return status


def _stop(number: int, frame: FrameType | None) -> None:
    for each in STOPS:  # a second one must not disturb the cleaning up after the first
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped(number)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options and arguments."""
    options = _Parser(
        prog="voxtral convert",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a folder")
    options.add_argument("target", type=Path, metavar="MODEL.gguf", help="the file to write")
    options.add_argument(
        "--type", choices=FILE_TYPES, default="q4_0", help="how weights are stored (default: q4_0)"
    )
    options.add_argument(
        "--verify", action="store_true", help="then compare every tensor with its source"
    )
    options.add_argument(
        "--decoder-only", action="store_true", help="write the decoder alone, for llama.cpp"
    )
    options.add_argument(
        "--delay",
        type=_positive,
        metavar="MS",
        help="the delay that --decoder-only is for: 80 to 1200 in steps of 80, or 2400 (default: "
        "the model's)",
    )
    options.add_argument(
        "--threads", type=_positive, metavar="N", help="threads (default: one per processor)"
    )
    options.add_argument("--name", help="the model's name, for general.name")
    options.add_argument("--description", help="what it understands, for general.description")
    options.add_argument("--license", help="its licence, for general.license")
    options.add_argument("--quiet", action="store_true", help="say nothing unless it fails")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

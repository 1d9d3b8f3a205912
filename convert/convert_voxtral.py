"""The command line of the converter: a checkpoint, a folder or on a hub, to a GGUF file.

    python convert/convert_voxtral.py CHECKPOINT [model.gguf] [--type q4_k_m] [--verify]

runs from a clone once the package is installed; `voxtral convert` is the same. Exit status: 0 all
is well; 1 the file cannot be written, or the download broke off; 2 the checkpoint or an option
cannot be used; 130 Ctrl-C; 143 SIGTERM; 129 SIGHUP; 149 Ctrl-Break; 141 nobody reads standard
output any more. Whatever happens, no half file stays behind and an old file is kept until the new
one is whole.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from voxtral_edge.console.arguments import Parser, count, names_files
from voxtral_edge.console.lines import complain, write
from voxtral_edge.console.output import Output, OutputError, is_gguf
from voxtral_edge.console.printable import printable
from voxtral_edge.console.progress import Bar
from voxtral_edge.console.signals import Stopped, stoppable
from voxtral_edge.console.status import BAD_INPUT, FAILURE, OK, SIGNALLED
from voxtral_edge.convert import (
    FILE_TYPES,
    Checkpoint,
    ConversionError,
    convert,
    convert_decoder,
    verify,
)
from voxtral_edge.convert.conversion import Progress
from voxtral_edge.convert.errors import DamagedFile
from voxtral_edge.convert.reading import hub
from voxtral_edge.convert.writing.quantize import DEFAULT
from voxtral_edge.errors import VoxtralError
from voxtral_edge.machine import models
from voxtral_edge.system import here

ABOUT = """\
Convert a Voxtral Realtime checkpoint to one GGUF file.

    voxtral convert mistralai/Voxtral-Mini-4B-Realtime-2602
    voxtral transcribe -m voxtral talk.wav

CHECKPOINT is the name of a repository on the hub, of which only the files needed are downloaded
into the hub's cache, or a folder. Either holds params.json, consolidated.safetensors and
tekken.json (the official layout, which wins if both are there), or config.json, model*.safetensors
and tekken.json (the transformers layout). The weights are read once, a slice at a time.

Without MODEL.gguf, the model goes to the data directory, where voxtral models lists it and -m finds
it by its name or the beginning of it.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run with arguments (None: those of the process); return the exit status."""
    options = parser()
    args = options.parse_intermixed_args(argv)  # MODEL.gguf may follow an option
    if args.delay and not args.decoder_only:
        options.error("--delay needs --decoder-only: other files serve every delay")
    if args.decoder_only and not args.target:
        options.error("--decoder-only needs the file to write: it is not a model for this program")
    if args.target and args.verify and args.target.exists() and not args.target.is_file():
        options.error(f"--verify needs a file that can be read again: {args.target} is none")
    try:
        with stoppable(signal.SIGINT, *here.STOPS):
            _run(args)
    except Stopped as stopped:
        return SIGNALLED + stopped.number
    except VoxtralError as error:
        complain(error)
        return BAD_INPUT
    except OSError as error:
        if isinstance(error, OutputError) and error.filename is None:
            raise
        complain(error)
        return FAILURE
    return OK


def _run(args: argparse.Namespace) -> None:
    folder, source = args.checkpoint, str(args.checkpoint.resolve())
    name, license, published = args.name, args.license, None
    target = args.target or models.place(str(args.checkpoint), args.type)
    if not args.target:
        target.parent.mkdir(parents=True, exist_ok=True)
    # What cannot be written is refused before anything is downloaded.
    if Output(target, inputs={}, over=is_gguf).is_standard_output:
        args.quiet = True  # which is where the words would go
    if not folder.is_dir() and hub.is_name(str(folder)):
        found = hub.fetch(str(folder), lambda line: _say(args, line), progress=not args.quiet)
        folder, source = found.folder, f"{found.name}@{found.revision}"
        name = name or found.name.partition("/")[2].replace("-", " ")
        license, published = license or found.license, found.sha256
    start = time.monotonic()
    make = partial(convert_decoder, delay_ms=args.delay) if args.decoder_only else convert
    try:
        with _progress("convert", folder, args) as progress:
            made = make(
                folder,
                target,
                type=args.type,
                name=name,
                description=args.description,
                license=license,
                published=published,
                threads=args.threads,
                progress=progress,
            )
    except DamagedFile as error:
        hub.forget(error.path)
        raise ConversionError(
            f"{error.path.name} is not what the hub has published (its SHA-256 differs); it was "
            "removed from the cache: run the command again"
        ) from error
    if models.is_stored(target):
        models.record(target, source)
    types = ", ".join(f"{n / 1e6:,.1f} MB {name}" for name, n in sorted(made.types.items()))
    _say(
        args,
        f"{made.path}: {made.n_bytes / 1e6:,.1f} MB, {made.n_tensors} tensors, "
        f"{made.n_params / 1e6:,.1f} M parameters ({types}), {time.monotonic() - start:.1f} s",
    )
    if not args.verify:
        return
    with _progress("verify", folder, args) as progress:
        deviations = verify(folder, target, threads=args.threads, progress=progress)
    for kind, deviation in sorted(deviations.items()):
        _say(
            args,
            f"verified {kind}: {deviation.n:,} values, max error {deviation.max_error:.3g} "
            f"({deviation.limit_share:.0%} of the limit), rms error {deviation.rms_error:.3g}",
        )


def _progress(
    verb: str, folder: Path, args: argparse.Namespace
) -> contextlib.AbstractContextManager[Progress | None]:
    if args.quiet:
        return contextlib.nullcontext()
    with Checkpoint(folder) as source:
        bar: Bar = Bar(verb, source.n_bytes)
    return bar


def _say(args: argparse.Namespace, line: str) -> None:
    if not args.quiet:
        write(printable(line) + "\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options and arguments."""
    options = Parser(
        prog="voxtral convert",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names_files(
        options.add_argument(
            "checkpoint", type=Path, metavar="CHECKPOINT", help="a folder, or ORG/NAME on the hub"
        )
    )
    names_files(
        options.add_argument(
            "target",
            type=Path,
            nargs="?",
            metavar="MODEL.gguf",
            help="the file to write (default: one in the data directory, named by source and type)",
        )
    )
    options.add_argument(
        "--type",
        choices=FILE_TYPES,
        default=DEFAULT,
        help=f"how weights are stored (default: {DEFAULT}); q4_0 is the fastest, but may lose "
        "quiet speech",
    )
    options.add_argument(
        "--verify", action="store_true", help="then compare every tensor with its source"
    )
    options.add_argument(
        "--decoder-only", action="store_true", help="write the decoder alone, for llama.cpp"
    )
    options.add_argument(
        "--delay",
        type=count,
        metavar="MS",
        help="the delay that --decoder-only is for: 80 to 1200 in steps of 80, or 2400 (default: "
        "the model's)",
    )
    options.add_argument(
        "--threads", type=count, metavar="N", help="threads (default: one per processor)"
    )
    options.add_argument("--name", help="the model's name, for general.name")
    options.add_argument("--description", help="what it understands, for general.description")
    options.add_argument("--license", help="its licence, for general.license")
    options.add_argument("--quiet", action="store_true", help="say nothing unless it fails")
    return options


if __name__ == "__main__":
    from voxtral_edge import cli

    sys.exit(cli.main(["convert", *sys.argv[1:]]))

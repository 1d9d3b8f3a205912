"""The `voxtral` command and its subcommands.

Text goes to standard output or to files, all else to standard error. Whatever the user can mend is
told in one line, without a traceback. Exit status: 0 all is well; 1 a failure of the machine
(memory, a full disk, the computation); 2 input that cannot be used (options, model, audio, a
microphone or a package that is missing); 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP, 149 Ctrl-Break; 141
nobody reads standard output any more, which is no error worth a word.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from .. import __version__
from ..console.arguments import Parser
from ..console.lines import complain, forget_odd_sizes, write
from ..console.output import OutputError, sweep
from ..console.signals import Stopped, stoppable
from ..console.status import BAD_INPUT, FAILURE, INTERRUPTED, SIGNALLED, UNREAD
from ..errors import ComputeError, StreamError, VoxtralError
from ..machine import bench, doctor
from ..serve import command as serve
from ..system import here
from . import options
from .commands import archive, completion, devices, inspect, models, plot, stream, transcribe

FAILURES = (ComputeError, MemoryError, StreamError)  # what is no fault of the input


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with its arguments (None: those of the process); return the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    forget_odd_sizes()
    if sys.stderr is None:  # it was closed; messages must not end up anywhere else
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (for as long as the process lives)
    try:
        with stoppable(*here.STOPS):
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
        args = parser().parse_args(argv)
    except SystemExit as end:
        if not end.code:
            write("")  # help is still on its way
        raise
    command: Callable[[argparse.Namespace], int] = args.command
    return command(args)


def parser(convert: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """Return the parser; `convert`: that of the converter, which is slow to import."""
    parser_ = Parser(
        prog="voxtral",
        description="Streaming speech to text on an ordinary CPU.",
        epilog="voxtral COMMAND --help explains a command.",
    )
    parser_.add_argument("--version", action="version", version=f"voxtral {__version__}")
    commands: argparse._SubParsersAction[argparse.ArgumentParser] = parser_.add_subparsers(
        metavar="COMMAND", required=True, parser_class=Parser
    )
    decoding, writing, hearing = options.decoding(), options.writing(), options.hearing()

    def add(name: str, command: ModuleType, *parents: argparse.ArgumentParser) -> None:
        added = commands.add_parser(
            name,
            help=command.HELP,
            description=command.ABOUT,
            parents=parents,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command.run, parser=parser)
        command.add_arguments(added)

    add("transcribe", transcribe, decoding, writing, hearing)
    add("stream", stream, decoding, writing, hearing)
    add("archive", archive, decoding, hearing)
    add("plot", plot, decoding)
    add("serve", serve, decoding)
    add("devices", devices)
    commands.add_parser(
        "convert",
        help="make a GGUF file from a checkpoint",
        parents=[convert] if convert else [],
        add_help=False,
    )
    add("models", models)
    add("inspect", inspect)
    add("bench", bench)
    add("doctor", doctor)
    add("completion", completion)
    return parser_

"""voxtral serve: its options, and how it is run."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from ..console.arguments import gain
from ..console.printable import printable
from ..errors import ArgumentError
from ..machine import models
from ..streaming.model import Model

HELP = "answer other programs"
ABOUT = """\
Serve transcription over HTTP and WebSocket, as many programs already ask for it.

    voxtral serve                   the demo model, http://127.0.0.1:8000, tcp://127.0.0.1:10300
    voxtral serve -m voxtral --host 0.0.0.0 --token-file secret

POST /v1/audio/transcriptions takes files, WS /v1/realtime live audio, as the clients of OpenAI and
vLLM send it; Home Assistant comes in by the Wyoming protocol. Without a token only
this machine may come in. SIGTERM and Ctrl-C let what is there end, within --drain seconds; a second
one does not.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of the command to those of all that run the model."""
    add = command.add_argument
    add(
        "--host", default="127.0.0.1", metavar="NAME", help="where to listen (default: %(default)s)"
    )
    add("--port", type=int, default=8000, metavar="N", help="0: any (default: %(default)s)")
    add("--wyoming", default="tcp://127.0.0.1:10300", metavar="URI",
        help="where Home Assistant comes in, or off (default: %(default)s)")  # fmt: skip
    add("--zeroconf", metavar="NAME", help="announce that to the local network")
    add("--token-file", metavar="FILE", help="clients must bring what its first line says")
    add("--insecure", action="store_true", help="let everybody in who reaches the host")
    add("--origin", action="append", default=[], metavar="URL",
        help="pages of other servers that may use this one, as https://example.org")  # fmt: skip
    add("--tls-cert", metavar="FILE", help="certificates, in PEM; with --tls-key")
    add("--tls-key", metavar="FILE", help="their private key")
    add("--max-streams", type=int, default=100, metavar="N",
        help="live streams at once, if so many keep up (default: %(default)s)")  # fmt: skip
    add("--max-per-client", type=int, metavar="N",
        help="streams and files of one address at once (default: no such limit)")  # fmt: skip
    add("--max-files", type=int, default=2, metavar="N",
        help="files that are transcribed at once; 16 more wait (default: %(default)s)")  # fmt: skip
    add("--max-upload", type=int, default=4096, metavar="MB",
        help="the largest file (default: %(default)s)")  # fmt: skip
    add("--gain", type=gain, metavar="auto|DB",
        help="make quiet speech louder, or all audio by so many dB (default: neither)")  # fmt: skip
    add("--state-dir", metavar="DIR",
        help="keep sessions that broke there, over a restart (default: in memory)")  # fmt: skip
    add("--drain", type=float, default=30.0, metavar="S",
        help="how long to wait for what is there when stopped (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Serve until a signal; return the exit status."""
    try:
        from .server import Options, Server
        from .sessions.engine import Limits
    except ImportError as error:
        raise ImportError(
            f"the server needs the extra serve ({error.name} is missing): "
            "pip install 'voxtral-edge[serve]'"
        ) from None
    _set_logs(args.quiet)
    if (args.tls_cert is None) != (args.tls_key is None):
        raise ArgumentError("--tls-cert and --tls-key belong together: give both")
    options = Options(
        host=args.host,
        port=args.port,
        delay_ms=args.delay,
        gain=args.gain,
        wyoming=None if args.wyoming == "off" else args.wyoming,
        zeroconf=args.zeroconf,
        token=_token(args.token_file),
        is_insecure=args.insecure,
        origins=tuple(args.origin),
        certificate=args.tls_cert and Path(args.tls_cert),
        key=args.tls_key and Path(args.tls_key),
        state_dir=args.state_dir and Path(args.state_dir),
        drain_s=args.drain,
        limits=Limits(
            max_streams=args.max_streams,
            max_per_client=args.max_per_client,
            max_files=args.max_files,
            max_upload=args.max_upload * 1_000_000,
        ),
    )
    path = models.chosen(args.model)
    with Model(path, threads=args.threads, window_s=args.window) as model:
        asyncio.run(Server(model, options).run())
    return 0


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].strip():
        raise ArgumentError(f"{path} is empty: write a token into its first line")
    return lines[0].strip()


def _set_logs(is_quiet: bool) -> None:
    """Write what happens to standard error, as lines of key=value."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING if is_quiet else logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class _Lines(logging.Formatter):
    """One line for each event: time, level, event, and what belongs to it."""

    KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows it."""
        text = super().format(record)
        extra = "".join(
            f" {name}={value}" for name, value in vars(record).items() if name not in self.KNOWN
        )
        head, _, rest = text.partition("\n")
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        line = printable(f"{stamp} {record.levelname.lower()} {head}{extra}")
        return line + (f"\n{rest}" if rest else "")

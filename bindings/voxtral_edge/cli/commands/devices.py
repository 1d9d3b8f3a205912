"""voxtral devices: the microphones."""

from __future__ import annotations

import argparse

from ...audio.live import devices
from ...console.lines import write
from ...console.printable import printable
from ...console.status import OK
from ...errors import AudioError

HELP = "list the microphones"
ABOUT = "List the microphones: number, name, channels and rate."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare nothing: the command has no arguments."""


def run(args: argparse.Namespace) -> int:
    """List them; return the exit status."""
    found = devices()
    if not found:
        raise AudioError("there is no microphone: plug one in")
    for device in found:
        mark = "  (default)" if device.is_default else ""
        write(
            f"{device.index:3}  {printable(device.name)}  {device.n_channels} channels, "
            f"{device.rate:g} Hz{mark}\n"
        )
    return OK

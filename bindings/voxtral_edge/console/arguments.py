"""Arguments and options, as all commands have them."""

from __future__ import annotations

import argparse
import math
from typing import NoReturn

from .printable import printable
from .status import BAD_INPUT


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others of this command."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        self.exit(BAD_INPUT, f"voxtral: {printable(message)} (see {self.prog} --help)\n")


def names_files(action: argparse.Action) -> None:
    """Let shells complete an option or argument with the names of files."""
    action.complete = {  # type: ignore[attr-defined]
        "bash": "_shtab_compgen_files",
        "zsh": "_files",
        "fish": "__fish_complete_path",
    }


def count(text: str) -> int:
    """Return a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def seconds(text: str) -> float:
    """Return a number of seconds from 0 on."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def positive(text: str) -> float:
    """Return a number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def gain(text: str) -> float | str:
    """Return "auto", or a number of decibels."""
    value = _number(text)
    if text != "auto" and not abs(value) <= 60:
        raise argparse.ArgumentTypeError(f"{text} is neither auto nor -60 to 60 dB")
    return text if text == "auto" else value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

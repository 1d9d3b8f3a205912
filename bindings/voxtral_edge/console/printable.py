"""Text of a user's as a terminal may get it."""

from __future__ import annotations

import re

# Control characters, with which escape sequences begin; separators of lines and paragraphs; what
# turns the direction of writing over; bytes of a name that are no UTF-8.
COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""Return text with all that a terminal would obey or cannot show spelt out, as \x1b and \n.

    keep: characters that stay as they are.
    """
    return COMMANDS.sub(lambda found: _spelt(found[0], keep), text)


def _spelt(character: str, keep: str) -> str:
    if character in keep:
        return character
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte of a name
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()

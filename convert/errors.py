"""The exceptions of the converter."""

from __future__ import annotations

from pathlib import Path

from voxtral_edge.console.printable import printable
from voxtral_edge.errors import ModelFormatError


class ConversionError(ModelFormatError):
    """A checkpoint cannot be converted or a file is not what it should be.

    The message is one line that names the file, the tensor or key, and what to do.
    """

    def __init__(self, message: str) -> None:
        """Keep the message; what would break the line, in names of others, is spelt out."""
        super().__init__(printable(message))


class DamagedFile(ConversionError):  # noqa: N818  (the name says what happened, as in the package)
    """A weight file does not have the published SHA-256; `path` is its path."""

    def __init__(self, path: Path) -> None:
        """Keep the path."""
        super().__init__(f"{path.name} is not what was published: download it again")
        self.path = path

"""The one exception of the converter."""

from __future__ import annotations

from voxtral_edge.errors import ModelFormatError


class ConversionError(ModelFormatError):
    """A checkpoint cannot be converted or a file is not what it should be.

    The message is one line that names the file, the tensor or key, and what to do.
    """

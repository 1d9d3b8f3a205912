"""The exceptions, and the one place where a status of the C core becomes one of them.

    VoxtralError(Exception)
        ArgumentError (also ValueError)             an option or a token id outside its range
            AudioError                              audio that cannot be used as it is
                AudioTruncated (also UserWarning)   it breaks off; all before that has been used
        ModelError
            ModelNotFound (also FileNotFoundError)  there is no such file
            ModelFormatError (also ValueError)      the file is not a whole voxtral-edge GGUF
            ModelClosed (also RuntimeError)         the model was closed before
        StreamError (also RuntimeError)             the stream failed: reset() or close() it
            StreamClosed                            the stream was closed before
            StreamBusy                              another thread or task is using the stream
            StreamFormatError (also ValueError)     not a whole saved stream of this model file
            StreamFinished                          more audio after the end of the audio
        ComputeError (also RuntimeError)            the model gave values that are not finite
        OutOfMemory (also MemoryError)              nothing is lost

Every message is one line that says what is wrong and how to mend it. An audio file that is missing
or may not be read raises the usual OSError of Python.
"""

# ruff: noqa: N818  (the names say what happened; the bases say that they are errors)
from __future__ import annotations

from voxtral_edge._voxtral import lib


class VoxtralError(Exception):
    """Base of all errors of this package.

    `status` is the status of the C core (a negative int), or None if Python found the error.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        """Keep the message, which str() gives back, and the status."""
        super().__init__(message)
        self.status = status


class ArgumentError(VoxtralError, ValueError):
    """An option or a token id is outside its range."""


class AudioError(ArgumentError):
    """The audio cannot be used as it is; the message says what to do with it."""


class AudioTruncated(AudioError, UserWarning):
    """The audio breaks off before its end; what there was of it has been used.

    Raised after the last of the text; where the text is what is returned, it is a warning.
    """


class ModelError(VoxtralError):
    """A model file cannot be used."""


class ModelNotFound(ModelError, FileNotFoundError):
    """There is no such model file."""


class ModelFormatError(ModelError, ValueError):
    """The file is not a whole, consistent voxtral-edge GGUF."""


class ModelClosed(ModelError, RuntimeError):
    """The model was closed before this call."""


class StreamError(VoxtralError, RuntimeError):
    """The stream cannot do this in its present state."""


class StreamClosed(StreamError):
    """The stream was closed before this call."""


class StreamBusy(StreamError):
    """Another thread or task is using the stream; nothing was done."""


class StreamFinished(StreamError):
    """Audio was given after the end of the audio; reset() starts anew."""


class StreamFormatError(StreamError, ValueError):
    """The bytes are not a whole saved stream of this model file and this version."""


class ComputeError(VoxtralError, RuntimeError):
    """The model gave values that are not finite, and the stream has failed; or an old processor."""


class OutOfMemory(VoxtralError, MemoryError):
    """Memory ran out; nothing is lost. The call may be repeated, but for feed(): see there."""


_KINDS: dict[int, type[VoxtralError]] = {
    lib.VOX_ERR_ARGUMENT: ArgumentError,
    lib.VOX_ERR_STATE: StreamError,
    lib.VOX_ERR_IO: ModelError,
    lib.VOX_ERR_FORMAT: ModelFormatError,
    lib.VOX_ERR_MEMORY: OutOfMemory,
    lib.VOX_ERR_COMPUTE: ComputeError,
}


def check(status: int, message: str, **narrower: type[VoxtralError]) -> int:
    """Return a status that is not negative; raise the exception of one that is.

    `narrower` maps the name of a status, as in `VOX_ERR_IO=ModelNotFound`, to the class that the
    caller knows to be more exact than the one in the table.
    """
    if status >= 0:
        return status
    kinds = _KINDS | {getattr(lib, name): kind for name, kind in narrower.items()}
    raise kinds.get(status, VoxtralError)(message, status)

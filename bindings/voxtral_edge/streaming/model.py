"""Model: the weights and tokenizer of one GGUF file, read-only, shared by any number of streams.

The C core counts references: closing a model while streams live is fine, the weights go with the
last of them. One-shot transcription is built here on top of the stream; there is no second path.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Generator, Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from .._voxtral import ffi, lib
from ..audio import RATE, AudioLike, Chunks, Samples, duration_s
from ..errors import ArgumentError, ModelClosed, ModelNotFound, StreamFormatError, check
from ..text.pieces import SLOT_MS, Piece
from ..text.transcript import Transcript
from .aio import AsyncStream
from .handles import new_model, new_stream
from .options import StreamOptions, core_params
from .starts import Starts
from .stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

Progress: TypeAlias = Callable[[float, "float | None"], None]

N_MESSAGE = 1024  # bytes for a message of the core
MAX_THREADS = 256  # the limit of the core
MIN_WINDOW_S = SLOT_MS / 1000


class Model:
    """A speech-to-text model.

    with Model("voxtral-q4_k_m.gguf") as model:
        print(model.transcribe("talk.wav").text)

    It may be used by any number of streams and threads, whose computation takes turns on the
    threads of the model; that of a small model runs on all processors at once. Its attributes stay
    after close():

    `name`, `description` (what the model understands), `file_type` ("q4_0", ...) and `kernels` (the
    instructions it computes with: "amx", "avx512", "avx-vnni", "avx2", "sse4.1",
    "neon-i8mm", "neon-dotprod", "neon" or "portable") are texts;
    `n_params` counts parameters and `n_bytes` is the size of the weights; token ids are 0 to
    `n_vocab` - 1 and those below `n_special` carry no text, among them `token_pad` (nothing to say
    in this slot) and `token_word` (a word group follows); `default_delay_ms` is the delay that is
    used if none is given; `encoder_window` (frames of 20 ms) and `decoder_window` (slots of 80 ms)
    say how far back the model attends; `decoder_dim` is the width of an audio embedding;
    `has_turns`: its slots say what the speaker does; `n_lanes`: how many passes run at the same
    time, where several threads have streams.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        threads: int | None = None,
        cache: bool = True,
        window_s: float | None = None,
    ) -> None:
        """Open a GGUF file made by `voxtral convert`; None: the embedded demo model.

        `threads` compute for all streams together; None: what suits the size of the model, and for
        a small one as many as there are streams in threads of their own, and processors. `cache`:
        the start that all streams of a delay share is kept in the user's cache directory, where the
        model is so large that computing it takes a while; False: nothing is read or written.
        `window_s`: where memory is short for a stream's keys and values, the decoder remembers no
        more than so many seconds, 0.08 or more, and hears otherwise than it was trained to; None:
        as many as it was trained for. Raises ModelNotFound, ModelFormatError, ModelError (the file
        cannot be read), ArgumentError or OutOfMemory.
        """
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise ArgumentError(
                f"threads must be 1 to {MAX_THREADS}, not {threads}; None: what suits the model"
            )
        if window_s is not None and not MIN_WINDOW_S <= window_s < math.inf:
            raise ArgumentError(
                f"a window of {window_s} s is not possible: {MIN_WINDOW_S} s or more; None: the "
                "model's"
            )
        fields = {"n_threads": threads or 0, "decoder_window": _slots(window_s)}
        handle: Any = new_model()
        if path is None:
            demo = resources.files("voxtral_edge") / "demo.gguf"
            with resources.as_file(demo) as file:
                _open(file, fields, handle)
        else:
            _open(Path(path), fields, handle)
        info = ffi.new("vox_model_info *")
        check(lib.vox_model_describe(handle[0], info), "the model cannot be described")
        self.name: Final = ffi.string(info.name).decode(errors="replace")
        self.description: Final = ffi.string(info.description).decode(errors="replace")
        self.file_type: Final = ffi.string(info.file_type).decode(errors="replace")
        self.kernels: Final = ffi.string(info.kernels).decode()
        self.n_params: Final[int] = info.n_params
        self.n_bytes: Final[int] = info.n_bytes
        self.n_vocab: Final[int] = info.n_vocab
        self.n_special: Final[int] = info.n_special
        self.token_pad: Final[int] = info.token_pad
        self.token_word: Final[int] = info.token_word
        self.default_delay_ms: Final[int] = info.default_delay_ms
        self.encoder_window: Final[int] = info.encoder_window
        self.decoder_window: Final[int] = info.decoder_window
        self.decoder_dim: Final[int] = info.decoder_dim
        self.has_turns: Final = bool(info.has_turns)
        self.n_lanes: Final[int] = info.n_lanes
        self._starts = (
            Starts(Path(path), self.decoder_window) if path is not None and cache else None
        )
        self._handle: Any = handle  # last: what is only half made needs no close()

    def transcribe(
        self,
        audio: AudioLike,
        *,
        word_timestamps: bool = True,
        on_progress: Progress | None = None,
        **options: Unpack[StreamOptions],
    ) -> Transcript:
        """Transcribe all of `audio` and return its transcript, with words and their times.

        `audio`: the path of a sound or video file, of any rate and number of channels; its
        contents as bytes or a binary file; an array [n] at 16 kHz; or an iterable of such arrays.
        Files are read in blocks, so only the transcript grows with their length. `options` as for
        stream(); words have the confidence and alternatives that their pieces have.
        `word_timestamps`: False leaves `words` and `segments` of the transcript empty, and so what
        is made of them. `on_progress` is called after every slot with the seconds that are done
        and those there are in all (None if that is not known). Raises what Stream raises;
        AudioError or OSError for a file that cannot be read; of one that breaks off it returns
        what there is, and warns by AudioTruncated. Ctrl-C stops it within a slot.
        """
        total_s = duration_s(audio) if on_progress else None
        parts, n_samples = Chunks(audio), 0

        def counted() -> Iterator[Samples]:
            nonlocal n_samples
            for chunk in parts:
                n_samples += len(chunk)
                yield chunk

        slots: list[Piece] = []
        for slot in self.slots(counted(), **options):
            slots.append(slot)
            if on_progress:
                on_progress(min(slot.end_ms / 1000, n_samples / RATE), total_s)
        if parts.truncated:
            warnings.warn(parts.truncated, stacklevel=2)
        return Transcript.of(
            slots,
            self,
            duration_s=n_samples / RATE,
            model=self.name,
            delay_ms=options.get("delay_ms") or self.default_delay_ms,
            word_timestamps=word_timestamps,
        )

    def pieces(self, audio: AudioLike, **options: Unpack[StreamOptions]) -> Iterator[Piece]:
        """Yield pieces of text as soon as the audio allows: iterator in, iterator out.

        `audio` and `options` as for transcribe(); the iterable of arrays may be live and endless.
        Of what breaks off all pieces come, and then AudioTruncated is raised.
        """
        slots = self.slots(audio, **options)
        with contextlib.closing(slots):
            yield from (slot for slot in slots if slot.text)

    def slots(
        self, audio: AudioLike, **options: Unpack[StreamOptions]
    ) -> Generator[Piece, None, None]:
        """Yield every slot, those without text included; see pieces()."""
        parts = Chunks(audio)
        with self.stream(**options) as stream:
            for chunk in parts:
                stream.push(chunk)
                yield from stream.slots()
            stream.end()
            yield from stream.slots()
        parts.check()

    def stream(self, **options: Unpack[StreamOptions]) -> Stream:
        """Open a stream.

        `delay_ms`: how far text trails speech, one of DELAYS_MS; None: the model's default. A
        longer delay makes fewer errors. `pad_guard_ms`: after this long of nothing but pads they
        become less and less likely, which helps a model that has fallen silent over speech; a
        multiple of 80, 16000 suits the full model; None: never. `silence_gate_ms`: digital silence
        that has lasted so long is not computed; a multiple of 80, at least the delay and 880;
        None: all is. `confidence` and `alternatives`, their number, 0 to 8: what pieces have beside
        their text. `background`: streams that do not have it, live ones, go first; what it gives is
        the same. `words`: names and terms to expect, in the spelling wanted; where the model is in
        two minds, it leans towards them, by at most `words_bonus` logits; None: 3.
        `gain`: "auto" makes quiet speech louder, by up to 40 dB; a number makes all audio louder by
        so many dB, -60 to 60; None: it stays as it is. Raises ArgumentError, ModelClosed or
        OutOfMemory.
        """
        fields = core_params(**options)
        params = ffi.new("vox_stream_params *", fields)
        handle, message = new_stream(), ffi.new("char[]", N_MESSAGE)
        model = self._opened()
        status = lib.vox_stream_open(model[0], params, handle, message, N_MESSAGE)
        check(status, ffi.string(message).decode(errors="replace"))
        stream, delay_ms = Stream(self, handle), int(lib.vox_stream_delay(handle[0]))
        if self._starts and self._starts.is_missing(model, delay_ms):
            stream._on_close = partial(self._starts.keep, model, delay_ms)
        return stream

    def astream(self, **options: Unpack[StreamOptions]) -> AsyncStream:
        """Return a stream for asyncio, to be entered with `async with`; options as for stream()."""
        core_params(**options)
        return AsyncStream(lambda: self.stream(**options))

    def load_stream(self, saved: bytes) -> Stream:
        """Return a stream that goes on where the one was whose Stream.save() gave `saved`.

        It has the options of that stream; its slots are those that an uninterrupted one gives.
        Raises StreamFormatError if `saved` is damaged or cut short, or comes from another model
        file or version of this package; ModelClosed, OutOfMemory.
        """
        handle, message = new_stream(), ffi.new("char[]", N_MESSAGE)
        model, state = self._opened(), ffi.from_buffer(saved)
        status = lib.vox_stream_load(model[0], state, len(saved), handle, message, N_MESSAGE)
        text = ffi.string(message).decode(errors="replace")
        check(status, text, VOX_ERR_FORMAT=StreamFormatError)
        return Stream(self, handle)

    def load_astream(self, saved: bytes) -> AsyncStream:
        """Return a stream for asyncio that goes on so; see load_stream() and astream()."""
        return AsyncStream(lambda: self.load_stream(saved))

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token, not always whole UTF-8.

        Raises ArgumentError for an id outside the vocabulary, and ModelClosed.
        """
        if not 0 <= token < self.n_vocab:
            raise ArgumentError(f"token {token} is not one of 0 to {self.n_vocab - 1}")
        start, n = ffi.new("const char **"), ffi.new("size_t *")
        model = self._opened()
        check(lib.vox_model_token(model[0], token, start, n), "no such token")
        return bytes(ffi.buffer(start[0], n[0]))

    def close(self) -> None:
        """Give up the weights; streams that are open keep them. May be repeated."""
        self._handle = None

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._handle is None

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be copied or pickled: what it holds cannot be."""
        raise TypeError("a Model cannot be copied or pickled: share it, or open its file again")

    def __enter__(self) -> Model:
        """Return the model."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the model."""
        self.close()

    def __del__(self) -> None:
        """Close a model that was forgotten, and say so."""
        if getattr(self, "_handle", None) is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def _opened(self) -> Any:
        """Return the handle: who holds it has the model, whoever closes it meanwhile."""
        handle = self._handle
        if handle is None:
            raise ModelClosed("this model was closed: open it again with Model(path)")
        return handle


def _slots(window_s: float | None) -> int:
    """Return a window as the core takes it; 0: the model's."""
    return min(round((window_s or 0) * 1000 / SLOT_MS), 2**31 - 1)


def _open(path: Path, fields: dict[str, int], handle: Any) -> None:
    """Open a model, with the fields of a vox_model_params, for a new handle to own."""
    if not path.exists():
        raise ModelNotFound(
            f"there is no model file {path}: check the path, or make one with voxtral convert"
        )
    params, message = ffi.new("vox_model_params *", fields), ffi.new("char[]", N_MESSAGE)
    status = lib.vox_model_open(os.fsencode(path), params, handle, message, N_MESSAGE)
    check(status, f"{path}: {ffi.string(message).decode(errors='replace')}")

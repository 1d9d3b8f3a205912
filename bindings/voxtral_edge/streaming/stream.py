"""Stream: one live transcription. Audio is pushed in, pieces of text come out.

A stream holds one vox_stream of the C core. One call at a time is inside: another one, of another
thread or of a signal handler that came in between, raises StreamBusy. What it returns is copied;
nothing borrowed from the core leaves this file. It keeps no audio and no text of its own, so it may
run without end.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .._voxtral import ffi, lib
from ..audio import ArrayLike, as_samples
from ..errors import (
    AudioError,
    StreamBusy,
    StreamClosed,
    StreamError,
    StreamFinished,
    VoxtralError,
    check,
)
from ..text.pieces import SLOT_MS, TURN_STATES, Alternative, Piece, Turn
from ..text.turns import TurnOptions, Turns, turns_of
from .handles import new_stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..audio import Floats
    from .model import Model


@dataclass(frozen=True, slots=True)
class Stats:
    """What a stream has done since it was opened or reset, and the memory behind it.

    A pass takes several slots through the network at once. Nanoseconds by stage, none within
    another: `mel_ns`, `encoder_ns`, `prefill_ns` (the decoder up to its first token, and what the
    first stream of a model and delay prepares for all), `decoder_ns` (after it) and `head_ns` (the
    output matrix). Passes and slots of each: `n_encoder_passes`, `n_encoder_slots` and so on;
    `n_decoder_slots` counts refused guesses as well, `n_accepted` the slots that came out, and
    `n_skipped` those that the silence gate shut out. Passes serve all streams that wait for one:
    `n_encoder_shared` and `n_decoder_shared` (after the first token) count the slots of all of
    them.
    `n_drafted` tokens were guessed ahead and `n_agreed` of them found to be right. Bytes:
    `state_bytes` of the stream itself, `scratch_bytes` in which passes compute, shared by all
    streams of the model, and `weight_bytes` of the model.
    """

    mel_ns: int
    encoder_ns: int
    prefill_ns: int
    decoder_ns: int
    head_ns: int
    n_encoder_passes: int
    n_encoder_slots: int
    n_prefill_passes: int
    n_prefill_slots: int
    n_decoder_passes: int
    n_decoder_slots: int
    n_accepted: int
    n_skipped: int
    n_encoder_shared: int
    n_decoder_shared: int
    n_drafted: int
    n_agreed: int
    state_bytes: int
    scratch_bytes: int
    weight_bytes: int


class Stream:
    """One stream of audio and its text; made by Model.stream().

    with model.stream() as stream:
        for chunk in chunks:
            for piece in stream.feed(chunk): ...
        for piece in stream.finish(): ...

    It belongs to one thread at a time. A stream that failed (ComputeError) takes only reset() and
    close(). Every method raises StreamClosed after close() and StreamBusy while another call is
    inside: one of another thread, or the one that a signal handler interrupted. In such a handler
    close() does not raise: the call that it interrupted closes the stream when it ends.
    """

    def __init__(self, model: Model, handle: Any) -> None:
        """Take over the vox_stream that `handle` owns: Model.stream() makes one."""
        self._model = model
        self._guard = threading.RLock()  # held only while _inside is looked at and set
        self._inside: tuple[int, FrameType] | None = None  # thread and frame of the call at work
        self._closing = False  # a signal handler has closed what is inside
        self._on_close: Callable[[], None] | None = None  # once, if it has come beyond its start
        # What the core hands out it forgets. An interruption may come at any moment, so a slot
        # stays in _slot until it is in _ready, and there until a call hands it on.
        self._slot = ffi.new("vox_slot *", {"index": -1})
        self._taken = -1  # index of the last slot that came to _ready
        self._ready: deque[Piece] = deque()
        # A saved stream may have come to its end already; nothing else refuses no audio.
        self._ended = lib.vox_stream_push(handle[0], ffi.NULL, 0) < 0
        self._pending = int(lib.vox_stream_pending(handle[0]))
        self._has_heard = False  # audio since it was made
        self._turns: Turns | None = None  # once they were asked for
        self._told: list[Turn] = []
        self._handle: Any = handle  # last: what is only half made needs no close()

    def feed(self, samples: ArrayLike) -> list[Piece]:
        """Add audio and return the new text: push() and all of slots() that has text.

        `samples`: [n] at 16 kHz, any n; float32 is not copied on the way, float64 and int16 are
        converted. Takes about as long as the audio times the real-time factor. Raises AudioError
        (nothing was added), StreamFinished, ComputeError, OutOfMemory. If it is interrupted, or
        memory runs out, no text is lost: slots() or the next call goes on. The audio was added or
        not; use push() and slots() where that matters.
        """
        with self._held():
            self._push(samples)
            self._drain()
        return self._hand_out()

    def finish(self) -> list[Piece]:
        """End the audio and return the last words: end() and all of slots() that has text."""
        with self._held():
            self._end()
            self._drain()
        return self._hand_out()

    def flush(self) -> list[Piece]:
        """Return what finish() would return now, and go on as if nothing had been asked.

        For push-to-talk: the words in all audio so far, without waiting for the delay. They are
        found on a copy of the stream's state, which costs the computation of as much silence as
        finish() adds, and little memory, which is given back. More audio may change them.
        """
        return self._flush(lambda: False)

    def push(self, samples: ArrayLike) -> None:
        """Add audio and compute nothing; see feed(). The audio waits inside until slots()."""
        with self._held():
            self._push(samples)

    def end(self) -> None:
        """Say that there is no more audio, so that slots() gives the last words.

        May be repeated.
        """
        with self._held():
            self._end()

    def slots(self) -> Iterator[Piece]:
        """Yield a piece for every slot that the audio so far allows, those without text included.

        Each step hands out one slot. The iterator ends when more audio is needed or, after
        end(), when all is said: ceil(n / 1280) + 10 slots in all. Raises ComputeError, OutOfMemory.
        """
        while self._has_slot():
            yield self._ready.popleft()

    def turns(self, **options: Unpack[TurnOptions]) -> list[Turn]:
        """Return the turns that have begun or ended in the slots since the last call.

        The first call, before any audio, begins to look for them, with `options`: see TurnOptions.
        A model that has a head for it says what the speaker does; of any other, pauses tell it.
        Call it after any call that decodes. A state that is saved knows no turns: they begin anew
        where it is loaded. Raises StreamError if audio was added before the first call.
        """
        with self._held():
            if self._turns is None:
                if self._has_heard:
                    raise StreamError("ask for turns before the first audio, or after reset()")
                delay_ms = self._check(lib.vox_stream_delay(self._core))
                self._turns = turns_of(
                    self._model, delay_ms=delay_ms, n_before=self._pending, **options
                )
            elif options:
                raise StreamError("the settings of turns were given at the first call")
            told: list[Turn] = []
            self._told, told = told, self._told
        return told

    def save(self) -> bytes:
        """Return the state of the stream, for Model.load_stream(), on this machine or another.

        What was pushed and not yet decoded is in it; statistics are not, nor slots that a call
        which was interrupted has left: have them first, from slots(). It takes as much memory as
        the stream's rings, twice for a moment. It may be loaded by the same version of this package
        with the same model file. Raises StreamError if the stream has failed.
        """
        with self._held():
            n = self._check(lib.vox_stream_save(self._core, ffi.NULL, 0))
            saved = bytearray(n)
            self._check(lib.vox_stream_save(self._core, ffi.from_buffer(saved), n))
        return bytes(saved)

    def embeddings(self) -> Iterator[Floats]:
        """Yield the audio embedding [decoder_dim] of every slot that the audio so far allows.

        This instead of slots(), for a decoder outside of this package: voxtral_edge.llama. The
        embeddings of the left padding, 32 slots of silence, come first. Until reset(), a stream
        gives either text or embeddings. Raises StreamError, ComputeError, OutOfMemory.
        """
        while True:
            row = np.empty(self._model.decoder_dim, np.float32)
            with self._held():
                into = ffi.from_buffer("float[]", row)
                if self._check(lib.vox_stream_embed(self._core, into)) != lib.VOX_SLOT:
                    return
            yield row

    def stats(self) -> Stats:
        """Return counts and times since the stream was opened or reset."""
        stats = ffi.new("vox_stats *")
        with self._held():
            self._check(lib.vox_stream_stats(self._core, stats))
        return Stats(*(getattr(stats, field.name) for field in fields(Stats)))

    def watch(self, name: str) -> None:
        """Keep the rows of a tensor for tensor(); before the first slot, or after reset().

        csrc/voxtral.h lists the names, among them "mel". Raises ArgumentError for others and
        StreamError if slots were decoded before.
        """
        with self._held():
            self._check(lib.vox_stream_watch(self._core, name.encode()))

    def tensor(self, name: str) -> Floats:
        """Return the rows of a watched tensor that the last step of slots() computed, [n] flat.

        Often there are none, since one pass serves several slots. The rows of all steps joined
        begin with those of the silence before the first sample, 32 slots. Raises ArgumentError for
        a tensor that is not watched.
        """
        with self._held():
            n = self._check(lib.vox_stream_tensor(self._core, name.encode(), ffi.NULL, 0))
            values = np.empty(n, np.float32)
            into = ffi.from_buffer("float[]", values)
            self._check(lib.vox_stream_tensor(self._core, name.encode(), into, n))
        return values

    def reset(self) -> None:
        """Make the stream as if just opened, from any state but closed; memory is kept."""
        with self._held():
            self._check(lib.vox_stream_reset(self._core))
            self._ended = False
            self._slot.index = self._taken = -1
            self._ready.clear()
            self._has_heard, self._turns, self._told = False, None, []

    def close(self) -> None:
        """Free the stream. May be repeated."""
        try:
            with self._held(closed=True):
                on_close = self._on_close if self._has_started() else None
                self._on_close = None
                self._free()
        except StreamBusy:
            inside = self._inside
            if inside is None or inside[0] != threading.get_ident():
                raise
            self._closing = True
            return
        if on_close:
            on_close()

    @property
    def model(self) -> Model:
        """The model of this stream."""
        return self._model

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._handle is None or self._closing

    @property
    def pending(self) -> int:
        """Samples that were pushed but not yet decoded, as of the last finished call: the lag.

        May be read from any thread at any time.
        """
        return self._pending

    @property
    def memory(self) -> int:
        """Bytes that the stream holds now; what all streams share is in stats()."""
        with self._held():
            return int(lib.vox_stream_memory(self._core))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be copied or pickled: what it holds cannot be."""
        raise TypeError("a Stream cannot be copied or pickled: use save() and Model.load_stream()")

    def __enter__(self) -> Stream:
        """Return the stream."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the stream."""
        self.close()

    def __del__(self) -> None:
        """Close a stream that was forgotten, and say so."""
        if getattr(self, "_handle", None) is not None:
            self._on_close = None
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()

    @property
    def _core(self) -> Any:
        """The vox_stream *; only while _held()."""
        return self._handle[0]

    @contextlib.contextmanager
    def _held(self, *, closed: bool = False) -> Iterator[None]:
        """Keep other calls out; a closed stream is let in only if `closed` is set."""
        call = (threading.get_ident(), sys._getframe(2))
        try:
            self._hold(call, closed=closed)
            yield
        finally:
            self._let_go(call)

    def _hold(self, call: tuple[int, FrameType], *, closed: bool = False) -> None:
        """Let a call in, by its thread and frame; whatever comes of it, _let_go() follows."""
        with self._guard:
            if self._inside is not None and _is_at_work(*self._inside):
                raise StreamBusy(
                    "another thread is using this stream: give each thread its own stream"
                    if self._inside[0] != call[0]
                    else "a signal handler cannot use the stream that it interrupted, but for "
                    "close()"
                )
            self._inside = call
        if not (self._handle or closed):
            raise StreamClosed("this stream was closed: open a new one with model.stream()")
        self._take()

    def _let_go(self, call: tuple[int, FrameType]) -> None:
        if self._inside is call:
            if self._closing:
                self._free()
            if self._handle:
                self._pending = int(lib.vox_stream_pending(self._core))
            self._inside = None

    def _has_started(self) -> bool:
        """Whether something waits for that; a forgotten stream may have lost its core already."""
        stats = ffi.new("vox_stats *")
        return bool(
            self._on_close
            and self._handle
            and lib.vox_stream_stats(self._core, stats) == lib.VOX_OK
            and stats.n_prefill_passes > 0
        )

    def _free(self) -> None:
        handle, self._handle = self._handle, None
        self._pending, self._closing = 0, False
        if handle:
            ffi.release(handle)

    def _push(self, samples: ArrayLike) -> None:
        array = as_samples(samples)
        status = lib.vox_stream_push(self._core, ffi.from_buffer("float[]", array), len(array))
        state = StreamFinished if self._ended else StreamError
        self._check(status, VOX_ERR_ARGUMENT=AudioError, VOX_ERR_STATE=state)
        self._has_heard = self._has_heard or len(array) > 0
        if self._turns:
            self._turns.hear(array)

    def _end(self) -> None:
        self._check(lib.vox_stream_finish(self._core))
        self._ended = True

    def _flush(self, is_cancelled: Callable[[], bool]) -> list[Piece]:
        copy, slot = new_stream(), ffi.new("vox_slot *")
        with copy, self._held():
            pieces = list(self._ready)
            self._check(lib.vox_stream_copy(self._core, copy))
            self._check(lib.vox_stream_finish(copy[0]), copy[0])
            while not is_cancelled() and self._next(copy[0], slot):
                pieces.append(_piece(slot))
        return [piece for piece in pieces if piece.text]

    def _next(self, stream: Any, slot: Any) -> bool:
        """Have the core fill a vox_slot *, if there is another one."""
        if self._closing:
            raise StreamClosed("this stream was closed by a signal handler")
        return self._check(lib.vox_stream_next(stream, slot), stream) == int(lib.VOX_SLOT)

    def _decode(self) -> bool:
        """Bring the next slot to _ready, if there is one."""
        if not self._next(self._core, self._slot):
            if self._turns and self._ended:
                self._told += self._turns.end()
            return False
        self._take()
        return True

    def _decode_alone(self) -> bool:
        with self._held():
            return self._decode()

    def _has_slot(self) -> bool:
        """Whether there is a slot to hand out, which is in _ready then."""
        with self._held():
            return bool(self._ready) or self._decode()

    def _take(self) -> None:
        """Bring the slot that the core gave last to _ready, if it is not there."""
        index = self._slot.index
        if index in (-1, self._taken):
            return
        if not (self._ready and self._ready[-1].start_ms == SLOT_MS * index):
            self._ready.append(_piece(self._slot))
        self._taken = index
        if self._turns:
            self._told += self._turns.push(self._ready[-1])

    def _drain(self) -> None:
        while self._decode():
            pass

    def _hand_out(self) -> list[Piece]:
        """Return what is ready and has text; nothing can interrupt its way to the caller."""
        pieces = [piece for piece in self._ready if piece.text]
        none: deque[Piece] = deque()
        self._ready = none
        return pieces

    def _check(self, status: int, stream: Any = None, **narrower: type[VoxtralError]) -> int:
        if status >= 0:
            return status
        message = ffi.string(lib.vox_stream_message(stream or self._core)).decode(errors="replace")
        return check(status, message, **narrower)


@dataclass(slots=True)
class Step:
    """What a stream gave in advance().

    Its slots; and whether it has `more` to compute, or has come to its end, or the error that it
    has run into.
    """

    slots: list[Piece] = field(default_factory=list)
    more: bool = False
    is_done: bool = False
    error: VoxtralError | None = None


def advance(streams: Sequence[Stream], seconds: float) -> list[Step]:
    """Compute for streams of one model, in passes that they share, for about so many seconds.

    For a thread that serves many streams; each gets what its slots() would give.
    """
    until, call = time.monotonic() + seconds, (threading.get_ident(), sys._getframe())
    steps = [Step() for _ in streams]
    try:
        at_work = []
        for stream, step in zip(streams, steps, strict=True):
            try:
                stream._hold(call)
            except VoxtralError as error:
                step.error = error
            else:
                at_work.append((stream, step))
        while at_work and time.monotonic() < until:
            n = len(at_work)
            cores = ffi.new("vox_stream *[]", [stream._core for stream, _ in at_work])
            statuses = ffi.new("int32_t[]", n)
            check(lib.vox_streams_advance(cores, n, statuses), "these streams go not together")
            for (stream, step), status in zip(at_work, ffi.unpack(statuses, n), strict=True):
                step.more, step.is_done = status == lib.VOX_SLOT, status == lib.VOX_DONE
                try:
                    stream._check(status)
                    if status != lib.VOX_WAIT:
                        stream._decode()  # what needs no computing any more
                except VoxtralError as error:
                    step.error = error
                step.slots += stream._ready
                stream._ready.clear()
            at_work = [(stream, step) for stream, step in at_work if step.more]
    finally:
        for stream in streams:
            stream._let_go(call)
    return steps


def _is_at_work(thread: int, frame: FrameType) -> bool:
    """Whether a call goes on: not if an interruption threw it out before it could say so."""
    running = sys._current_frames().get(thread)
    while running is not None and running is not frame:
        running = running.f_back
    return running is not None


def _piece(slot: Any) -> Piece:
    """Return a copy of a vox_slot *."""
    text = ffi.unpack(slot.text, slot.n_text).decode() if slot.n_text else ""
    start_ms = SLOT_MS * slot.index
    end_ms = start_ms + SLOT_MS
    has_turn, confidence = slot.turn >= 0, slot.confidence or None
    if not has_turn and confidence is None:
        return Piece(text, slot.token, start_ms, end_ms)
    alternatives = tuple(
        Alternative(ffi.unpack(other.text, other.n_text).decode(errors="replace"), other.confidence)
        for other in (slot.alternatives[i] for i in range(slot.n_alternatives))
    )
    return Piece(
        text,
        slot.token,
        start_ms,
        end_ms,
        confidence,
        alternatives,
        TURN_STATES[slot.turn] if has_turn else None,
        tuple(slot.turns) if has_turn else (),
    )

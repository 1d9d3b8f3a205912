"""Live audio: a microphone or a pipe, taken as it comes while a stream may be slower.

A device that is not read in time loses audio, and so does the program behind a pipe that is full.
So a thread takes the samples at once and they wait here; the stream gets all that waits, and
catches up. What a device loses all the same is counted, never passed over.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ..errors import AudioError, AudioTruncated
from ..system import here
from .arrays import RATE, Floats, Resampler, Samples
from .files import read_pcm

CHUNK = RATE * 128 // 100  # most samples handed out at once: the longest pass of the encoder
PIPE_ROOM = 600 * RATE  # samples of a pipe that may wait; then its writer has to
DEVICE_S = 0.08  # audio that a device delivers at a time: a slot
PAUSE_S = 0.02  # between two looks whether there is room


class Live:
    """An iterable of chunks [n] of 16 kHz samples that come as they are spoken, to be used once.

    `n_received`: samples that came so far, including those that still wait here. `lost_s`: seconds
    of audio that were lost before they came here. Both may be read at any time.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        # put() is safe in a signal handler, unlike that of other queues. None: no more samples.
        self._waiting: queue.SimpleQueue[Samples | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._stopped = False
        # The consumer's: at the end it gives what it holds, when nobody hands it more.
        self._resampler = Resampler(RATE)
        self._n_put = self._n_taken = 0  # samples at the rate of the source
        self.n_received = 0
        self.lost_s = 0.0

    def stop(self) -> None:
        """End the audio now; what has come so far is still handed out. Safe in a signal handler."""
        self._stopped = True
        self._waiting.put(None)

    def __iter__(self) -> Iterator[Samples]:
        """Wait for audio; return all that waits, up to 1.28 s, at once."""
        more, most = True, CHUNK * self._resampler.rate / RATE
        while more:
            parts, n = [], 0
            part = self._next()
            while part is not None:
                parts.append(part)
                n += len(part)
                if n >= most:
                    break
                try:
                    part = self._waiting.get_nowait()
                except queue.Empty:
                    break
            more = part is not None
            if parts:
                self._n_taken += n
                yield self._resampler.push(np.concatenate(parts))
        if len(rest := self._resampler.end()):
            yield rest
        if self._error:
            raise self._error

    def _next(self) -> Samples | None:
        """Wait for what comes next, and for signals, which do not end a wait everywhere."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._waiting.get(timeout=here.STEP_S)

    def _put(self, samples: Floats) -> None:
        if not self._stopped:
            self._n_put += len(samples)
            self.n_received = round(self._n_put * RATE / self._resampler.rate)
            self._waiting.put(samples)

    def _end(self, error: Exception | None = None) -> None:
        if not self._stopped:
            self._error = error
            self._waiting.put(None)


class Pipe(Live):
    """What comes through a pipe; see read_pcm()."""

    def __init__(self, file: BinaryIO, *, raw: bool = False) -> None:
        """Begin to read, in a thread."""
        super().__init__()
        self._blocks = read_pcm(file, raw=raw)
        threading.Thread(target=self._read, daemon=True, name="voxtral-pipe").start()

    def _read(self) -> None:
        try:
            for block in self._blocks:
                while self._n_put - self._n_taken > PIPE_ROOM and not self._stopped:
                    time.sleep(PAUSE_S)
                self._put(block)
        except Exception as error:  # it belongs to whoever takes the samples
            self._end(error)
        else:
            self._end()


class Microphone(Live):
    """What a microphone hears, from entering `with` on until stop() or the end of `with`.

    with Microphone() as microphone:
        for piece in model.pieces(microphone): ...
    """

    def __init__(self, device: int | str | None = None) -> None:
        """Choose a device by its number or a part of its name; None: the default one."""
        super().__init__()
        self._device = device
        self._due_s: float | None = None  # the device's clock at the next sample

    def __enter__(self) -> Microphone:
        """Begin to listen.

        Raises AudioError if there is no such microphone and ImportError if the extra is missing.
        """
        sounddevice = _sounddevice()
        try:
            self._rate = _rate(sounddevice, self._device)
            self._resampler = Resampler(self._rate)
            self._stream = sounddevice.InputStream(
                samplerate=self._rate,
                blocksize=round(self._rate * DEVICE_S),
                device=self._device,
                channels=1,
                dtype="float32",
                callback=self._hear,
                finished_callback=self._gone,
            )
            try:
                self._stream.start()
            except BaseException:
                self._stream.close()
                raise
        except (sounddevice.PortAudioError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise AudioError(
                f"no microphone can be opened ({reason}): see voxtral devices"
            ) from None
        return self

    def __exit__(self, *error: object) -> None:
        """Listen no more."""
        self.stop()
        self._stream.close()

    def _hear(self, heard: Floats, n: int, clock: Any, status: Any) -> None:
        """Take samples [n, 1] of the device, in its own thread."""
        began_s = clock.inputBufferAdcTime
        if status.input_overflow:
            # Some drivers have no clock; a block is what is lost at the least.
            gap_s = began_s - self._due_s if self._due_s and began_s else 0.0
            self.lost_s += max(gap_s, n / self._rate)
        self._due_s = began_s + n / self._rate
        self._put(heard[:, 0].copy())  # the device writes there again

    def _gone(self) -> None:
        """Tell that the device has stopped by itself."""
        self._end(
            AudioTruncated("the microphone is gone: plug it in again, or see voxtral devices")
        )


@dataclass(frozen=True, slots=True)
class Device:
    """A microphone or another source of sound."""

    index: int
    name: str
    n_channels: int
    rate: float  # its own sampling rate
    is_default: bool


def devices() -> list[Device]:
    """Return the devices that can be listened to; raise ImportError if the extra is missing."""
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    return [
        Device(
            index,
            found["name"],
            found["max_input_channels"],
            found["default_samplerate"],
            index == default,
        )
        for index, found in enumerate(sounddevice.query_devices())
        if found["max_input_channels"] > 0
    ]


def _rate(sounddevice: Any, device: int | str | None) -> float:
    """Return 16 kHz if the device can give it, its own rate if not."""
    try:
        sounddevice.check_input_settings(device, channels=1, dtype="float32", samplerate=RATE)
    except sounddevice.PortAudioError:
        return float(sounddevice.query_devices(device, "input")["default_samplerate"])
    return RATE


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise ImportError(
            "a microphone needs the extra mic: pip install 'voxtral-edge[mic]'"
        ) from None
    except OSError:
        raise ImportError(
            "a microphone needs the library PortAudio: install it (Debian: apt install "
            "libportaudio2)"
        ) from None
    return sounddevice

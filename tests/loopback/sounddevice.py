"""A loopback device in place of the sounddevice package: a sound file plays as a microphone.

Put this folder on the path, and settings as JSON in VOXTRAL_LOOPBACK: "file"; "speed" (1: as fast
as it is spoken); "rates" that the device can give, its own first; "lose": the number of a block
before which as much audio again is lost; "unplug": the number of a block after which the device
is gone; "devices": how many there are.
"""

import json
import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import soundfile
import soxr

SETTINGS = {"file": None, "speed": 50, "rates": [16000], "lose": None, "unplug": None, "devices": 1}
SETTINGS |= json.loads(os.environ.get("VOXTRAL_LOOPBACK", "{}"))
default = SimpleNamespace(device=[1, 0])


class PortAudioError(Exception):
    pass


class CallbackFlags(SimpleNamespace):
    pass


def query_devices(device=None, kind=None):
    found = [{"name": "Speaker", "max_input_channels": 0, "default_samplerate": 44100.0}]
    found += [
        {"name": f"Loopback {i}", "max_input_channels": 2, "default_samplerate": rate}
        for i in range(SETTINGS["devices"])
        for rate in SETTINGS["rates"][:1]
    ]
    if kind is None:
        return found
    return found[_index(device, found)]


def check_input_settings(device=None, channels=None, dtype=None, samplerate=None):
    query_devices(device, "input")
    if samplerate not in SETTINGS["rates"]:
        raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")


def _index(device, found):
    if device is None:
        device = 1
    if isinstance(device, str):
        names = [i for i, each in enumerate(found) if device in each["name"]]
        if not names:
            raise ValueError(f"No input device matching {device!r}")
        return names[0]
    if not 0 < device < len(found):
        raise PortAudioError(f"Error querying device {device}")
    return device


class InputStream:
    def __init__(
        self, *, samplerate, blocksize, device, channels, dtype, callback, finished_callback
    ):
        check_input_settings(device, channels, dtype, samplerate)
        audio, rate = soundfile.read(SETTINGS["file"], dtype="float32")
        self.audio = soxr.resample(audio, rate, samplerate) if rate != samplerate else audio
        self.rate, self.n = samplerate, blocksize
        self.callback, self.finished = callback, finished_callback
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.play)

    def start(self):
        self.thread.start()

    def close(self):
        self.closing.set()
        self.thread.join()

    def play(self):
        """Play the file, then silence until the stream is closed."""
        buffer = np.zeros((self.n, 1), np.float32)
        at, i = 0, 0
        while not self.closing.is_set() and i != SETTINGS["unplug"]:
            lost = i == SETTINGS["lose"]
            at += self.n * lost
            part = self.audio[at : at + self.n]
            buffer[:] = 0
            buffer[: len(part), 0] = part
            clock = SimpleNamespace(inputBufferAdcTime=1.0 + at / self.rate)
            self.callback(buffer, self.n, clock, CallbackFlags(input_overflow=lost))
            at, i = at + self.n, i + 1
            time.sleep(self.n / self.rate / SETTINGS["speed"])
        self.finished()

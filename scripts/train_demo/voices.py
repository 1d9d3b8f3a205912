"""Speech synthesisers that tell when each word ends: espeak-ng, flite, festival, Pico and Hibari.

An engine is called with the words of one utterance and a random generator; it gives
(samples int16 [n] at 16 kHz, end of each word in milliseconds, name of the voice), or None if the
synthesiser did something unexpected with the text. espeak-ng and flite are called in this process
through their libraries, festival as a program, many utterances at a time. Pico does not tell; there
the ends come from flite. Hibari is a neural voice whose pitch, vocal tract and accent are varied.
Voices in *_HELD are never trained on.
"""

from __future__ import annotations

import ctypes
import json
import math
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import onnxruntime
import py_nanotts
import soxr
from align import word_ends
from bank import loudness, trimmed
from hibari import dsp
from hibari.tts import ASSETS
from vocabulary import DIGITS

RATE = 16000

Utterance = tuple[np.ndarray, list[float], str]

words = str.split

ESPEAK_ACCENTS = words(
    "en-us en en-us en en-gb-scotland en-gb-x-rp en-029 en-us-nyc en-gb-x-gbclan en-gb-x-gbcwmd"
)
ESPEAK_VARIANTS = words(
    "m1 m2 m3 m4 m5 m6 m8 f1 f2 f3 f5 Alicia Andrea Annie David Denis Diogo Gene Hugo Lee Marco "
    "Mario Michael Mike Nguyen adam anika antonio aunty belinda benjamin boris caleb ed edward "
    "grandma grandpa gustave iven iven3 john kaukovalta klatt klatt2 klatt3 klatt4 max michel "
    "miguel norbert pablo paul pedro quincy rob robert sandro shelby steph2 steph3 travis victor "
    "zac"
)
ESPEAK_HELD = words("m7 f4 Andy linda steph Alex marcelo")
FLITE_VOICES = words("slt awb slt awb kal16 kal")
FLITE_HELD = ["rms"]
FESTIVAL_VOICES = words("ked_diphone cmu_us_slt_arctic_hts")
PICO_VOICES = words("en-US en-GB")
# For speech that is not to be written: voice of espeak-ng or Pico, and the word list of its
# language in /usr/share/dict. Italian and Russian are for judging.
FOREIGN = dict(
    zip(
        words("de fr es es-419 pl nl sv pt pt-br da bg uk ca nb eo"),
        words(
            "ngerman french spanish spanish polish dutch swedish portuguese brazilian danish "
            "bulgarian ukrainian catalan bokmaal esperanto"
        ),
        strict=True,
    )
)
PICO_FOREIGN = {"de-DE": "ngerman", "es-ES": "spanish", "fr-FR": "french"}
# These speak English, as a speaker of English hears as another language.
ESPEAK_ACCENTED = words("de fr es pl nl sv fi pt-br cs tr hu")
# Digits as people say them who spell English like their own language, most in more than one way,
# for its voices of espeak-ng and Pico.
RESPELT = {
    (
        "fr",
        "fr-FR",
    ): "zirau/zéro ouane/ouanne tou sri/tri/frî faure faïve/faïf sixe sévène éïte/ette naïne",
    (
        "de",
        "de-DE",
    ): "siro/siero uann/wann tuh sri/ßri/tri fohr faif/feiv ssicks ssewwen/ßewen eht/äit nein",
    ("es", "es-ES"): "siro/zero uan/guan tu zri/tri/sri for faiv/faif sics seven/seben eit nain",
}

SPOKEN = {"oclock": "o'clock"}  # what the synthesiser is given for a word


def spoken(words: Sequence[str], r: Random) -> tuple[str, list[int]]:
    """Text with a comma here and there, and the offset of each word in it."""
    text, offsets = "", []
    for i, word in enumerate(words):
        offsets.append(len(text))
        text += SPOKEN.get(word, word)
        if i + 1 < len(words):
            text += ", " if r.random() < 0.07 else " "
    return text, offsets


def at_16k(samples: np.ndarray, rate: int) -> np.ndarray:
    if rate == RATE:
        return samples
    resampled = soxr.resample(samples.astype(np.float32), rate, RATE)
    return np.clip(np.rint(resampled), -32768, 32767).astype(np.int16)


# ---- espeak-ng ----------------------------------------------------------------------------------


class EspeakEvent(ctypes.Structure):
    """espeak_EVENT of espeak-ng's speak_lib.h."""

    class Id(ctypes.Union):
        _fields_ = (
            ("number", ctypes.c_int),
            ("name", ctypes.c_char_p),
            ("string", ctypes.c_char * 8),
        )

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # in milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", Id),
    )


LIST_END, WORD, PHONEME = 0, 1, 7
PARAMETER_RATE, PARAMETER_VOLUME, PARAMETER_PITCH, PARAMETER_RANGE = 1, 2, 3, 4
SYNCHRONOUS, PHONEME_EVENTS = 2, 1


class Espeak:
    """variants: names that are put behind an accent, as in "en-us+m3"."""

    def __init__(
        self,
        variants: Sequence[str] = ESPEAK_VARIANTS,
        accents: Sequence[str] = ESPEAK_ACCENTS,
    ) -> None:
        self.variants, self.accents = variants, accents
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        self.chunks: list[np.ndarray] = []
        self.events: list[tuple[int, int, int, int, bytes]] = []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(EspeakEvent)
        )
        self.callback = kind(self._collect)
        self.rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS)
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, samples: Any, n: int, events: Any) -> int:
        if n > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (n,)).copy())
        i = 0
        while (event := events[i]).type != LIST_END:
            name = event.id.string if event.type == PHONEME else b""
            row = (event.type, event.text_position, event.length, event.audio_position, name)
            self.events.append(row)
            i += 1
        return 0

    def phonemes(self, word: str, accent: str = "en-us") -> str:
        """The word in espeak-ng's ASCII phonemes, without stress marks."""
        self.library.espeak_SetVoiceByName(accent.encode())
        self.library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        text = ctypes.c_char_p(word.encode())
        found = self.library.espeak_TextToPhonemes(ctypes.byref(text), 1, 0)
        return found.decode().translate(str.maketrans("", "", "',|_: "))

    def __call__(
        self, words: Sequence[str], r: Random, accent: str | None = None
    ) -> Utterance | None:
        voice = f"{accent or r.choice(self.accents)}+{r.choice(self.variants)}"
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        for parameter, value in (
            (PARAMETER_RATE, int(r.triangular(95, 260, 155))),
            (PARAMETER_VOLUME, 70),
            (PARAMETER_PITCH, r.randint(10, 90)),
            (PARAMETER_RANGE, r.randint(10, 90)),
        ):
            self.library.espeak_SetParameter(parameter, value, 0)
        text, offsets = spoken(words, r)
        encoded = text.encode()
        self.chunks.clear()
        self.events.clear()
        self.library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, SYNCHRONOUS - 1, None, None)
        if not self.chunks:
            return None
        samples = np.concatenate(self.chunks)
        ends = self._word_ends(offsets, 1000 * len(samples) / self.rate)
        return (at_16k(samples, self.rate), ends, voice) if ends else None

    def _word_ends(self, offsets: list[int], length_ms: float) -> list[float] | None:
        """A word ends where a pause follows it, or else where the next one starts.

        Words that the synthesiser merges ("on the") share their end.
        """
        starts: dict[int, float] = {}
        for kind, position, length, at, _ in self.events:
            if kind == WORD and length > 0:
                word = max(i for i, offset in enumerate(offsets) if offset <= position - 1)
                starts.setdefault(word, at)
        pauses = [
            at for kind, _, _, at, name in self.events if kind == PHONEME and name[:1] == b"_"
        ]
        order = sorted(starts)
        if not order or order[0] != 0:
            return None
        ends = [0.0] * len(offsets)
        for word, following in zip(order, [*order[1:], len(offsets)], strict=True):
            limit = starts.get(following, length_ms)
            end = min((at for at in pauses if starts[word] < at <= limit), default=limit)
            ends[word:following] = [end] * (following - word)
        return ends


# ---- flite --------------------------------------------------------------------------------------


class FliteWave(ctypes.Structure):
    """cst_wave of flite."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class Flite:
    """The CMU voices of flite, with their durations stretched at random."""

    def __init__(self, names: Sequence[str] = FLITE_VOICES) -> None:
        self.names = names
        for name in ("libflite", "libflite_cmulex", "libflite_usenglish"):
            ctypes.CDLL(f"{name}.so.1", mode=ctypes.RTLD_GLOBAL)
        self.flite = flite = ctypes.CDLL("libflite.so.1")
        flite.flite_init()
        pointer, text, real = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
        for name, result, arguments in (
            ("flite_synth_text", pointer, [text, pointer]),
            ("utt_wave", pointer, [pointer]),
            ("utt_relation", pointer, [pointer, text]),
            ("relation_head", pointer, [pointer]),
            ("item_next", pointer, [pointer]),
            ("ffeature_float", real, [pointer, text]),
            ("delete_utterance", None, [pointer]),
            ("feat_set_float", None, [pointer, text, real]),
        ):
            function = getattr(flite, name)
            function.restype, function.argtypes = result, arguments
        self.voices: dict[str, int] = {}

    def voice(self, name: str) -> int:
        if name not in self.voices:
            library = ctypes.CDLL(f"libflite_cmu_us_{name}.so.1", mode=ctypes.RTLD_GLOBAL)
            register = getattr(library, f"register_cmu_us_{name}")
            register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            self.voices[name] = register(None)
        return self.voices[name]

    def __call__(self, words: Sequence[str], r: Random) -> Utterance | None:
        text, stretch = spoken(words, r)[0], r.uniform(0.75, 1.5)
        return self.say(text, len(words), r.choice(self.names), stretch, r)

    def say(
        self, text: str, n_words: int, name: str, stretch: float, r: Random
    ) -> Utterance | None:
        voice, flite = self.voice(name), self.flite
        features = ctypes.cast(voice, ctypes.POINTER(ctypes.c_void_p))[1]  # cst_voice.features
        flite.feat_set_float(features, b"duration_stretch", stretch)
        if name.startswith("kal"):  # the voices whose pitch comes from a model with parameters
            flite.feat_set_float(features, b"int_f0_target_mean", r.uniform(70, 190))
            flite.feat_set_float(features, b"int_f0_target_stddev", r.uniform(5, 30))
        utterance = flite.flite_synth_text(text.encode(), voice)
        audio = ctypes.cast(flite.utt_wave(utterance), ctypes.POINTER(FliteWave)).contents
        samples = np.ctypeslib.as_array(audio.samples, (audio.num_samples,)).copy()
        rate = audio.sample_rate
        ends = []
        item = flite.relation_head(flite.utt_relation(utterance, b"Word"))
        while item:
            path = b"R:SylStructure.daughtern.daughtern.R:Segment.end"
            ends.append(1000 * flite.ffeature_float(item, path))
            item = flite.item_next(item)
        flite.delete_utterance(utterance)
        if len(ends) != n_words:
            return None
        return at_16k(samples, rate), ends, f"flite-{name}"


# ---- Pico ---------------------------------------------------------------------------------------


class Pico:
    """SVOX Pico in two English voices; where words end, two voices of flite must agree."""

    AGREE_MS = 80

    def __init__(self) -> None:
        self.pico, self.flite = py_nanotts.NanoTTS(), Flite()

    def say(self, text: str, voice: str, speed: float, r: Random) -> np.ndarray:
        pitch = r.uniform(0.7, 1.5)
        return np.frombuffer(self.pico.speak(text, voice, speed, pitch, volume=0.5), "<i2")

    def __call__(self, words: Sequence[str], r: Random) -> Utterance | None:
        text, name = spoken(words, r)[0], r.choice(PICO_VOICES)
        speed = r.uniform(0.7, 1.4)
        samples, _ = trimmed(self.say(text, name, speed, r), [])
        found = []
        for other in ("slt", "awb"):
            reference = self.flite.say(text, len(words), other, 1 / speed, r)
            ends = reference and word_ends(samples, *trimmed(*reference[:2]))
            if ends is None:
                return None
            found.append(ends)
        apart = np.abs(np.subtract(*found)).max()
        mean = np.mean(found, 0).tolist()
        return (samples, mean, f"pico-{name}") if apart <= self.AGREE_MS else None


class Respeller:
    """English digits by espeak-ng's and Pico's voices for other languages, respelt for them."""

    def __init__(self) -> None:
        self.espeak, self.pico = Espeak(), py_nanotts.NanoTTS()
        self.spellings = {
            voices: dict(zip(DIGITS, words(text), strict=True)) for voices, text in RESPELT.items()
        }

    def __call__(self, said: Sequence[str], r: Random) -> Utterance | None:
        """said: one digit."""
        espeak_voice, pico_voice = voices = r.choice(sorted(RESPELT))
        text = r.choice(self.spellings[voices][said[0]].split("/"))
        if r.random() < 0.5:
            return self.espeak([text], r, espeak_voice)
        audio = self.pico.speak(text, pico_voice, r.uniform(0.7, 1.5), r.uniform(0.7, 1.5), 0.5)
        samples, _ = trimmed(np.frombuffer(audio, "<i2"), [])
        return samples, [loudness(samples)[1] / 16], f"pico-{pico_voice}-en"


# ---- Hibari --------------------------------------------------------------------------------------

# What speakers of other languages say for an English sound, in Hibari's symbols; "$" ends a word.
ACCENTS = {
    "θ": "sf", "ð": "dz", "w": "v", "v": "fw", "ɹ": "T", "ɪ": "i", "æ": "ɛɑ", "ʌ": "ɑæ", "ə": "ɛʌ",
    "ᵊ": "ɛə", "ɛ": "æ", "ʊ": "u", "ɔ": "Oɑ", "ɑ": "ɔ", "z": "s", "ŋ": "n", "ʤ": "ʧ", "A": "ɛ",
    "O": "ɔ", "ɜ": "ɛ", "T": "t", "d$": "t", "v$": "f", "ɡ$": "k", "b$": "p", "z$": "s",
}  # fmt: skip


class Hibari:
    """A voice that was made from Kokoro-82M's af_heart, turned into many speakers.

    The network gives spectra, pitch and, asked for it, how many frames each symbol lasts; so the
    pitch, its range and the vocal tract's length are set before anything is heard.
    """

    FRAME_MS = 25
    EARLY_MS = 40  # before its symbol does, a word's sound has ended, as measured at ends of speech
    DURATIONS = "/Clip_output_0"  # of each symbol, in frames: a value inside the network's file

    def __init__(self, phonemes: Path) -> None:
        self.phonemes: dict[str, str] = json.loads(phonemes.read_text())
        self.ids: dict[str, int] = json.loads(Path(ASSETS, "vocab.json").read_text())
        model = onnx.load(Path(ASSETS, "hibari.onnx"))
        model.graph.output.append(onnx.ValueInfoProto(name=self.DURATIONS))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def said(self, word: str, accent: dict[str, str]) -> str:
        sounds = self.phonemes[word]
        last = accent.get(sounds[-1] + "$", sounds[-1])
        return "".join(accent.get(sound, sound) for sound in sounds[:-1] + last)

    def __call__(self, words: Sequence[str], r: Random) -> Utterance | None:
        accent: dict[str, str] = {}
        if r.random() < 0.6:
            accent = {a: r.choice(b) for a, b in ACCENTS.items() if r.random() < 0.3}
        ids, last = [0], []
        for i, word in enumerate(words):
            ids += [self.ids[sound] for sound in self.said(word, accent) if sound in self.ids]
            last.append(len(ids) - 1)
            pause = "." if i + 1 == len(words) else ", " if r.random() < 0.07 else " "
            ids += [self.ids[symbol] for symbol in pause]
        ids.append(0)
        inputs = {
            "ids": np.array([ids], np.int64),
            "speed": np.array([math.exp(r.uniform(math.log(0.7), math.log(1.45)))], np.float32),
        }
        names = ["lh", "theta", "ln", "lr", "phi", "f0", self.DURATIONS]
        *parts, f0, frames = self.session.run(names, inputs)
        parts, f0 = [part[0] for part in parts], f0[0]
        low = r.random() < 0.55  # a man rather than a woman or a child
        pitch = math.exp(r.uniform(math.log(0.4), math.log(0.68)) if low else r.uniform(-0.3, 0.35))
        tract = math.exp(r.uniform(0.02, 0.24) if low else r.uniform(-0.16, 0.08))
        voiced = f0 > 40
        if voiced.any():
            mean = math.exp(np.log(f0[voiced]).mean())
            f0 = voiced * mean * pitch * (np.maximum(f0, 1) / mean) ** r.uniform(0.3, 1.4)
        bins = np.minimum(np.rint(np.arange(len(parts[0])) * tract).astype(int), len(parts[0]) - 1)
        noise = np.random.default_rng(r.getrandbits(32))
        audio = dsp.synth(*(part[bins] for part in parts), f0.astype(np.float32), noise)
        ends = (np.cumsum(frames)[last] * self.FRAME_MS - self.EARLY_MS).tolist()
        samples = np.clip(np.rint(audio * 16000), -32768, 32767).astype(np.int16)
        return at_16k(samples, dsp.SR), ends, "hibari-low" if low else "hibari-high"


# ---- festival -----------------------------------------------------------------------------------

FESTIVAL_PROLOGUE = """
(define (speak number)
  (set! utterance (eval (list 'Utterance 'Text text)))
  (utt.synth utterance)
  (utt.save.wave utterance (string-append number ".wav") 'riff)
  (format t "%s" number)
  (mapcar
   (lambda (word)
     (format t " %f" (item.feat word "R:SylStructure.daughtern.daughtern.R:Segment.end")))
   (utt.relation.items utterance 'Word))
  (format t "\\n"))
"""


def festival(
    sentences: Sequence[Sequence[str]], voices: Sequence[str], r: Random
) -> list[Utterance | None]:
    """All sentences in one run of the program: it takes longer to start than to speak."""
    script, names = [FESTIVAL_PROLOGUE], []
    for i, words in enumerate(sentences):
        name = r.choice(voices)
        names.append(f"festival-{name}")
        script.append(f"(voice_{name})")
        script.append(f"(Parameter.set 'Duration_Stretch {r.uniform(0.75, 1.4):.2f})")
        if name.endswith("diphone"):
            script.append(
                f"(set! int_lr_params '((target_f0_mean {r.uniform(75, 190):.0f}) "
                f"(target_f0_std {r.uniform(8, 25):.0f}) (model_f0_mean 170) (model_f0_std 34)))"
            )
        script.append(f'(set! text "{spoken(words, r)[0]}")\n(speak "{i}")')
    found: list[Utterance | None] = [None] * len(sentences)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "speak.scm").write_text("\n".join(script))
        done = subprocess.run(
            ["festival", "-b", "speak.scm"], cwd=folder, capture_output=True, text=True, check=True
        )
        for line in done.stdout.splitlines():
            number, *ends = line.split()
            if number.isdigit() and len(ends) == len(sentences[int(number)]):
                with wave.open(str(Path(folder, f"{number}.wav"))) as file:
                    samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
                    rate = file.getframerate()
                found[int(number)] = (
                    at_16k(samples, rate),
                    [1000 * float(end) for end in ends],
                    names[int(number)],
                )
    return found

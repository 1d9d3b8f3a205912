"""tekken.json -> the bytes of every token, the special ids, and the stream's settings.

A special token's id is its rank; a text token's id is the number of special tokens plus its rank.
Only as many text tokens are kept as the embedding has rows for; the file holds more.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from voxtral_edge.streaming.options import DELAYS_MS

from ..errors import ConversionError
from . import limits
from .json_file import Section, load, shown

# mistral_common: one slot for BOS and ten in which the last words come out, after the delay.
N_RIGHT_PAD_EXTRA = 11


@dataclass(frozen=True)
class Vocabulary:
    """Token bytes by id, special ids, and the settings of the audio stream."""

    tokens: list[bytes]
    n_special: int
    bos: int
    eos: int
    streaming_pad: int
    streaming_word: int
    n_left_pad: int
    default_delay_ms: int


def read(path: Path, n_vocab: int) -> Vocabulary:
    """Read the first n_vocab tokens."""
    tekken = load(path)
    config, audio = tekken.section("config"), tekken.section("audio")
    audio.require(sampling_rate=16000, transcription_format="streaming")
    audio.section("audio_encoding_config").require(
        num_mel_bins=128, hop_length=160, window_size=400
    )
    size = config.count("default_vocab_size", limits.N_VOCAB)
    if size != n_vocab:
        raise ConversionError(
            f"{path}: {size} tokens, but the weights have {n_vocab}: use the tekken.json that "
            "came with the weights"
        )
    n_special = config.count("default_num_special_tokens", limits.token(n_vocab))
    specials = _specials(tekken, n_special)
    delay_ms = audio.count("transcription_delay_ms", limits.DEFAULT_DELAY_MS)
    if delay_ms not in DELAYS_MS:
        raise audio.wrong("transcription_delay_ms", f"is {delay_ms}, not 80 to 1200 by 80, or 2400")

    def special(name: str) -> int:
        if name not in specials:
            raise ConversionError(
                f"{path}: no special token is called {name}: this tokenizer is not that of a "
                "streaming model"
            )
        return specials.index(name)

    return Vocabulary(
        tokens=[name.encode() for name in specials] + _texts(tekken, n_vocab - n_special),
        n_special=n_special,
        bos=special("<s>"),
        eos=special("</s>"),
        streaming_pad=special("[STREAMING_PAD]"),
        streaming_word=special("[STREAMING_WORD]"),
        n_left_pad=audio.count("streaming_n_left_pad_tokens", limits.N_LEFT_PAD),
        default_delay_ms=delay_ms,
    )


def _specials(tekken: Section, n: int) -> list[str]:
    names = [f"<SPECIAL_{i}>" for i in range(n)]
    for entry in tekken.sections("special_tokens"):
        rank: int = entry.get("rank", int, "a whole number")
        if not 0 <= rank < n:
            raise entry.wrong("rank", f"is {shown(rank)}, but there are {n} special tokens")
        names[rank] = entry.text("token_str")
    return names


def _texts(tekken: Section, n: int) -> list[bytes]:
    tokens: list[bytes] = []
    for entry in tekken.sections("vocab"):
        if len(tokens) == n:
            break
        if entry.get("rank", int, "a whole number") != len(tokens):
            raise entry.wrong("rank", f"is not {len(tokens)}: the ranks must count up from 0")
        try:
            tokens.append(base64.b64decode(entry.text("token_bytes"), validate=True))
        except ValueError as error:
            raise entry.wrong("token_bytes", f"is not base64 ({error})") from error
    if len(tokens) < n:
        raise ConversionError(
            f"{tekken.path}: {len(tokens)} text tokens, but the weights need {n}: use the "
            "tekken.json that came with the weights"
        )
    if sum(map(len, tokens)) > limits.TOKENIZER_BYTES:
        raise ConversionError(f"{tekken.path}: the tokens are too long: download it again")
    return tokens

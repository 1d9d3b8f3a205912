"""The metadata of a GGUF file: every key, once. docs/format.md explains them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gguf import GGUFValueType
from gguf.utility import size_label

from ..errors import ConversionError
from ..reading.checkpoint import Checkpoint
from ..reading.json_file import is_whole, shown
from ..reading.params import DOWNSAMPLE, Params, Stack
from ..reading.params import PUBLISHED as PUBLISHED_PARAMS
from ..reading.tekken import N_RIGHT_PAD_EXTRA, Vocabulary
from ..reading.tensors import N_MEL
from . import groups
from .gguf_file import ALIGNMENT_KEY, LAYOUT_KEY, Value, f32, text, texts, u32
from .quantize import file_type

ARCHITECTURE = "voxtral_edge"
FORMAT_VERSION = 2
ROPE_LAYOUT = "interleaved"  # elements 2j and 2j+1 of a head are a rotated pair
SHA256_KEY = "voxtral_edge.source.sha256"


@dataclass(frozen=True)
class Card:
    """What the file says about the model in words; None: what is known of the published model."""

    name: str | None = None
    description: str | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        """Refuse what has no form in UTF-8."""
        for key, value in vars(self).items():
            if value is not None and not is_whole(value):
                raise ConversionError(f"the {key} {shown(value)} is no UTF-8: write it anew")


PUBLISHED = Card(
    name="Voxtral Mini 4B Realtime 2602",
    description="Streaming speech to text in 13 languages",
    license="apache-2.0",
)
LANGUAGES = ["en", "fr", "es", "de", "ru", "zh", "ja", "it", "pt", "nl", "ar", "hi", "ko"]


def _widths(p: Params) -> tuple[int, ...]:
    """Encoder and decoder layers and widths, and the vocabulary."""
    return (p.encoder.n_layers, p.encoder.dim, p.decoder.n_layers, p.decoder.dim, p.n_vocab)


PUBLISHED_SIZES = _widths(PUBLISHED_PARAMS)  # by which the published checkpoint is known


def metadata(checkpoint: Checkpoint, type_name: str, card: Card, sha256: str) -> dict[str, Value]:
    """Return all keys but general.architecture, which the writer puts first."""
    p = checkpoint.params
    label = size_label(checkpoint.n_params, 0, 0, 0)
    return {
        **general(p, type_name, card, label, has_turns=checkpoint.has_turns),
        ALIGNMENT_KEY: u32(groups.ALIGNMENT),
        "voxtral_edge.format_version": u32(FORMAT_VERSION),
        "voxtral_edge.file_type": text(type_name),
        "voxtral_edge.rope_layout": text(ROPE_LAYOUT),
        LAYOUT_KEY: text(groups.LAYOUT),
        "voxtral_edge.source.layout": text(checkpoint.layout),
        SHA256_KEY: text(sha256),
        **sizes(p),
        "voxtral_edge.audio.sampling_rate": u32(16000),
        "voxtral_edge.audio.n_mel": u32(N_MEL),
        "voxtral_edge.audio.hop_length": u32(160),
        "voxtral_edge.audio.window_length": u32(400),
        "voxtral_edge.audio.log_mel_max": f32(1.5),
        **_vocabulary(checkpoint.vocabulary),
    }


def sizes(p: Params) -> dict[str, Value]:
    """Return the keys that say how large the model is."""
    return {
        **_stack("encoder", p.encoder),
        "voxtral_edge.adapter.downsample_factor": u32(DOWNSAMPLE),
        **_stack("decoder", p.decoder),
        "voxtral_edge.decoder.n_kv_heads": u32(p.decoder.n_kv_heads),
        "voxtral_edge.decoder.n_vocab": u32(p.n_vocab),
        "voxtral_edge.decoder.ada_dim": u32(p.ada_dim),
    }


def general(
    p: Params, type_name: str, card: Card, label: str, *, has_turns: bool
) -> dict[str, Value]:
    """Return the keys that every GGUF file has; label: the number of parameters, rounded."""
    is_published = _widths(p) == PUBLISHED_SIZES and not has_turns
    known = PUBLISHED if is_published else Card(name=f"Voxtral realtime {label}")
    words = {
        "name": card.name or known.name,
        "description": card.description or known.description,
        "license": card.license or known.license,
        "basename": "Voxtral-Mini-Realtime" if is_published else None,
        "version": "2602" if is_published else None,
        "size_label": label,
    }
    keys = {"general.type": text("model")}
    keys |= {f"general.{key}": text(value) for key, value in words.items() if value}
    keys["general.tags"] = texts(["automatic-speech-recognition", "streaming"])
    if is_published:
        keys["general.languages"] = texts(LANGUAGES)
    keys["general.file_type"] = u32(int(file_type(type_name).number))
    keys["general.quantization_version"] = u32(2)
    return keys


def _stack(part: str, stack: Stack) -> dict[str, Value]:
    key = f"voxtral_edge.{part}."
    return {
        key + "n_layers": u32(stack.n_layers),
        key + "dim": u32(stack.dim),
        key + "n_heads": u32(stack.n_heads),
        key + "head_dim": u32(stack.head_dim),
        key + "hidden_dim": u32(stack.hidden_dim),
        key + "window": u32(stack.window),
        key + "rope_theta": f32(stack.rope_theta),
        key + "norm_eps": f32(stack.norm_eps),
    }


def _vocabulary(v: Vocabulary) -> dict[str, Value]:
    offsets = np.cumsum([0, *map(len, v.tokens)]).tolist()
    return {
        "voxtral_edge.stream.n_left_pad": u32(v.n_left_pad),
        "voxtral_edge.stream.n_right_pad_extra": u32(N_RIGHT_PAD_EXTRA),
        "voxtral_edge.stream.default_delay_ms": u32(v.default_delay_ms),
        "tokenizer.voxtral_edge.n_special": u32(v.n_special),
        "tokenizer.voxtral_edge.bos": u32(v.bos),
        "tokenizer.voxtral_edge.eos": u32(v.eos),
        "tokenizer.voxtral_edge.streaming_pad": u32(v.streaming_pad),
        "tokenizer.voxtral_edge.streaming_word": u32(v.streaming_word),
        "tokenizer.voxtral_edge.bytes": Value(
            GGUFValueType.ARRAY, b"".join(v.tokens), GGUFValueType.UINT8
        ),
        "tokenizer.voxtral_edge.offsets": Value(GGUFValueType.ARRAY, offsets, GGUFValueType.UINT32),
    }

"""The decoder as a stock llama.cpp model, for one delay.

llama.cpp's architecture "llama" is this decoder but for two things. The scale that the delay puts
on the feed-forward norms is constant for a stream, so that it is multiplied into their weights. The
audio embeddings are the caller's: the sum of token and audio embedding goes in as an embedding.
Rotated pairs are neighbours there too, so queries and keys are copied as they are. llama.cpp knows
no sliding window for this architecture; the caller may forget old positions, which is the same.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import numpy.typing as npt
from gguf import GGUFValueType, TokenType
from gguf.utility import size_label
from voxtral_edge.streaming.options import DELAYS_MS
from voxtral_edge.text.pieces import SLOT_MS

from ..errors import ConversionError
from ..reading.checkpoint import Checkpoint
from ..reading.tekken import Vocabulary
from .gguf_file import Value, f32, text, texts, u32
from .metadata import SHA256_KEY, Card, general
from .recipe import Recipe

ARCHITECTURE = "llama"
DELAY_KEY = "voxtral_edge.decoder.delay_ms"
MAX_PERIOD = 10000.0  # of the sinusoids of the delay, in slots and radians


def decoder(source: Checkpoint, type_name: str, card: Card, delay_ms: int) -> Recipe:
    """Return the recipe of the decoder's file; delay_ms is one of DELAYS_MS."""
    if delay_ms not in DELAYS_MS:
        raise ConversionError(
            f"a delay of {delay_ms} ms is not possible: choose 80 to 1200 in steps of 80, or 2400"
        )
    names = {t.name: _name(t.name) for t in source.tensors if _is_copied(t.name)}
    n_params = sum(math.prod(t.shape) for t in source.tensors if t.name in names)

    def metadata(sha256: str) -> dict[str, Value]:
        return {
            **general(
                source.params,
                type_name,
                card,
                size_label(n_params, 0, 0, 0),
                has_turns=source.has_turns,
            ),
            **_sizes(source),
            **_vocabulary(source.vocabulary),
            "voxtral_edge.file_type": text(type_name),
            "voxtral_edge.source.layout": text(source.layout),
            SHA256_KEY: text(sha256),
            DELAY_KEY: u32(delay_ms),
            "voxtral_edge.decoder.window": u32(source.params.decoder.window),
            "voxtral_edge.stream.n_left_pad": u32(source.vocabulary.n_left_pad),
            "tokenizer.voxtral_edge.streaming_pad": u32(source.vocabulary.streaming_pad),
        }

    return Recipe(ARCHITECTURE, metadata, names, _ffn_factors(source, delay_ms // SLOT_MS))


def _is_copied(name: str) -> bool:
    return name.startswith("dec.") and ".ada_" not in name and name != "dec.turn.weight"


def _name(name: str) -> str:
    """llama.cpp's name of a decoder tensor."""
    outer = {"dec.embed.weight": "token_embd.weight", "dec.norm.weight": "output_norm.weight"}
    return outer.get(name) or name.removeprefix("dec.").replace("attn_out.", "attn_output.")


def _ffn_factors(source: Checkpoint, n_delay: int) -> dict[str, npt.NDArray[np.float64]]:
    """1 + the ada scale of a delay, [dim], by the names of the feed-forward norms."""
    dim = source.params.decoder.dim
    angles = n_delay * MAX_PERIOD ** (-np.arange(dim // 2) / (dim // 2))
    t = np.concatenate([np.cos(angles), np.sin(angles)])
    ada = source.values({t.name for t in source.tensors if ".ada_" in t.name})
    factors = {}
    for i in range(source.params.decoder.n_layers):
        down, up = (ada[f"dec.blk.{i}.ada_{part}.weight"].astype(float) for part in ("down", "up"))
        hidden = np.array([0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in down @ t])
        factors[f"dec.blk.{i}.ffn_norm.weight"] = 1 + up @ hidden
    return factors


def _sizes(source: Checkpoint) -> dict[str, Value]:
    p = source.params.decoder
    return {
        "llama.vocab_size": u32(source.params.n_vocab),
        # Without a caller that forgets, text is right up to here.
        "llama.context_length": u32(p.window),
        "llama.embedding_length": u32(p.dim),
        "llama.block_count": u32(p.n_layers),
        "llama.feed_forward_length": u32(p.hidden_dim),
        "llama.attention.head_count": u32(p.n_heads),
        "llama.attention.head_count_kv": u32(p.n_kv_heads),
        "llama.attention.key_length": u32(p.head_dim),
        "llama.attention.value_length": u32(p.head_dim),
        "llama.attention.layer_norm_rms_epsilon": f32(p.norm_eps),
        "llama.rope.dimension_count": u32(p.head_dim),
        "llama.rope.freq_base": f32(p.rope_theta),
    }


# ---- vocabulary ---------------------------------------------------------------------------------


def _vocabulary(v: Vocabulary) -> dict[str, Value]:
    """The tokenizer as llama.cpp has it for Tekken: characters that stand for bytes, and merges."""
    letter = _letters()
    ranks = v.tokens[v.n_special :]
    words = ["".join(letter[byte] for byte in token) for token in ranks]
    tokens = [token.decode() for token in v.tokens[: v.n_special]] + words
    (most, count), *_ = Counter(tokens).most_common(1)
    if count > 1:
        raise ConversionError(f"the token {most!r} is there {count} times: llama.cpp refuses that")
    types = [TokenType.CONTROL] * v.n_special + [TokenType.NORMAL] * len(words)
    merges = [" ".join("".join(letter[byte] for byte in half) for half in pair)
              for pair in _merges(ranks)]  # fmt: skip
    return {
        "tokenizer.ggml.model": text("gpt2"),
        "tokenizer.ggml.pre": text("tekken"),
        "tokenizer.ggml.tokens": texts(tokens),
        "tokenizer.ggml.token_type": Value(GGUFValueType.ARRAY, types, GGUFValueType.INT32),
        "tokenizer.ggml.merges": texts(merges),
        "tokenizer.ggml.bos_token_id": u32(v.bos),
        "tokenizer.ggml.eos_token_id": u32(v.eos),
        "tokenizer.ggml.add_bos_token": Value(GGUFValueType.BOOL, False),
    }


def _letters() -> list[str]:
    """GPT-2's character for each byte: itself if visible in Latin-1, else one from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = itertools.count(0x100)
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


def _merges(ranks: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The pair that each token is merged from, in order.

    Tekken has ranks only: the lowest rank of a neighbouring pair is merged first, so the merges of
    lower rank leave two parts of each token. A token that they do not make is never a merge.
    """
    rank_of = {token: rank for rank, token in enumerate(ranks)}
    merges = []
    for own, token in enumerate(ranks):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            pairs = [rank_of.get(a + b, own) for a, b in itertools.pairwise(parts)]
            lowest = min(pairs)
            if lowest >= own:
                break
            i = pairs.index(lowest)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges

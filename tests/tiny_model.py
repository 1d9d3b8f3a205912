"""Small random checkpoints with the topology of the real model, and audio to run them on.

write_official() makes params.json, consolidated.safetensors and tekken.json; write_transformers()
makes the same weights in the transformers layout. Every weight is exactly representable in BF16, so
reading a checkpoint loses nothing. The sizes are chosen to catch errors: the query width differs
from the model width, both windows are shorter than a few seconds of audio, query and key gains make
attention peaked so that a wrong position or window shows in the logits, and embeddings are small
beside the audio rows so that the tied head does not merely repeat the last token. Only numpy is
needed.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np

N_MEL, N_SPECIAL, ADA_DIM, DOWNSAMPLE = 128, 1000, 32, 4
ADAPTER = "mm_streams_embeddings.embedding_module."
ENCODER = ADAPTER + "whisper_encoder."
TURNS = "vad_lm_head.weight"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What may vary between checkpoints; the rest is fixed by the architecture."""

    enc_dim: int = 64
    enc_n_layers: int = 3
    enc_n_heads: int = 4
    enc_head_dim: int = 32
    enc_hidden_dim: int = 160
    enc_window: int = 24
    dec_dim: int = 96
    dec_n_layers: int = 3
    dec_n_heads: int = 4
    dec_n_kv_heads: int = 2
    dec_head_dim: int = 32
    dec_hidden_dim: int = 192
    dec_window: int = 56
    n_vocab: int = 1400
    delay_ms: int = 480
    has_turns: bool = False  # a second head, as large as the embedding


PRESETS = {
    # Inner dimensions are multiples of 32, only adapter.1's is one of 256: most K types fall back.
    "micro": Sizes(),
    # Multiples of 256: every type can store every matrix.
    "kquant": Sizes(256, 2, 8, 64, 512, 24, 256, 2, 8, 2, 64, 512, 56),
}


# ---- checkpoints ---------------------------------------------------------------------------------


def write_official(directory: Path, seed: int = 0, preset: str = "micro", **overrides: int) -> Path:
    """Write a checkpoint in the official layout; overrides are fields of Sizes."""
    sizes = dataclasses.replace(PRESETS[preset], **overrides)
    params = params_json(sizes)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(params, seed, has_turns=sizes.has_turns)
    write_safetensors(directory / "consolidated.safetensors", tensors)
    _write_json(directory / "params.json", params)
    _write_json(directory / "tekken.json", tekken_json(sizes))
    return directory


def write_transformers(
    directory: Path, seed: int = 0, preset: str = "micro", n_shards: int = 1, **overrides: int
) -> Path:
    """Write what write_official() makes of the same arguments, in the transformers layout."""
    sizes = dataclasses.replace(PRESETS[preset], **overrides)
    params = params_json(sizes)
    tekken = tekken_json(sizes)
    tensors = random_tensors(params, seed, has_turns=sizes.has_turns)
    return to_transformers(directory, tensors, params, tekken, n_shards)


def to_transformers(
    directory: Path, tensors: dict[str, np.ndarray], params: dict, tekken: dict, n_shards: int = 1
) -> Path:
    """Write an official checkpoint (tensors f32, params.json, tekken.json) for transformers."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    renamed = transformers_tensors(tensors, params)
    if n_shards == 1:
        write_safetensors(directory / "model.safetensors", renamed)
    else:
        names = list(renamed)
        weight_map = {}
        for i in range(n_shards):
            part = {name: renamed[name] for name in names[i::n_shards]}
            file = f"model-{i + 1:05d}-of-{n_shards:05d}.safetensors"
            write_safetensors(directory / file, part)
            weight_map |= dict.fromkeys(part, file)
        total = sum(2 * tensor.size for tensor in renamed.values())
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        _write_json(directory / "model.safetensors.index.json", index)
    delay_ms = tekken["audio"]["transcription_delay_ms"]
    _write_json(directory / "config.json", transformers_config(params, delay_ms))
    _write_json(
        directory / "generation_config.json",
        {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11},
    )
    _write_json(directory / "processor_config.json", PROCESSOR_CONFIG)
    _write_json(directory / "tekken.json", tekken)
    return directory


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write f32 arrays as BF16: 8 bytes header length, JSON header, then the data back to back."""
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in tensors.items():
        blob = bf16_bits(tensor).tobytes()
        offsets = [offset, offset + len(blob)]
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": offsets}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def bf16_bits(values: np.ndarray) -> np.ndarray:
    """The upper halves of f32 values, rounded to nearest even; uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


# ---- weights -------------------------------------------------------------------------------------


def random_tensors(params: dict, seed: int, *, has_turns: bool = False) -> dict[str, np.ndarray]:
    """Tensors by official name, f32 arrays that hold BF16 values."""
    rng = np.random.default_rng(seed)
    enc = params["multimodal"]["whisper_model_args"]["encoder_args"]
    tensors: dict[str, np.ndarray] = {}

    def put(name: str, shape: tuple[int, ...], scale: float, mean: float = 0.0) -> None:
        values = (mean + scale * rng.standard_normal(shape)).astype(np.float32)
        tensors[name] = (bf16_bits(values).astype(np.uint32) << 16).view(np.float32)

    def linear(name: str, n_out: int, n_in: int, gain: float = 1.0, bias: float = 0.0) -> None:
        put(name + ".weight", (n_out, n_in), gain / n_in**0.5)
        if bias:
            put(name + ".bias", (n_out,), bias)

    def norm(name: str, n: int) -> None:
        put(name + ".weight", (n,), 0.2, mean=1.0)

    for i, n_in, gain in ((0, N_MEL, 1.0), (1, enc["dim"], 1.0)):
        conv = f"{ENCODER}conv_layers.{i}.conv"
        put(conv + ".weight", (enc["dim"], n_in, 3), gain / (3 * n_in) ** 0.5)
        put(conv + ".bias", (enc["dim"],), 0.1)
    width = enc["n_heads"] * enc["head_dim"]
    for i in range(enc["n_layers"]):
        layer = f"{ENCODER}transformer.layers.{i}."
        norm(layer + "attention_norm", enc["dim"])
        linear(layer + "attention.wq", width, enc["dim"], 2.0, bias=0.3)
        linear(layer + "attention.wk", width, enc["dim"], 2.0)
        linear(layer + "attention.wv", width, enc["dim"], bias=0.1)
        linear(layer + "attention.wo", enc["dim"], width, bias=0.1)
        norm(layer + "ffn_norm", enc["dim"])
        linear(layer + "feed_forward.w1", enc["hidden_dim"], enc["dim"])
        linear(layer + "feed_forward.w2", enc["dim"], enc["hidden_dim"], 2.0, bias=0.1)
        linear(layer + "feed_forward.w3", enc["hidden_dim"], enc["dim"])
    norm(ENCODER + "transformer.norm", enc["dim"])

    dim = params["dim"]
    linear(ADAPTER + "audio_language_projection.0", dim, DOWNSAMPLE * enc["dim"], 1.5)
    linear(ADAPTER + "audio_language_projection.2", dim, dim, 2.0)
    put(ADAPTER + "tok_embeddings.weight", (params["vocab_size"], dim), 0.25)
    width, kv_width = (params[n] * params["head_dim"] for n in ("n_heads", "n_kv_heads"))
    for i in range(params["n_layers"]):
        layer = f"layers.{i}."
        norm(layer + "attention_norm", dim)
        linear(layer + "attention.wq", width, dim, 1.5)
        linear(layer + "attention.wk", kv_width, dim, 1.5)
        linear(layer + "attention.wv", kv_width, dim)
        linear(layer + "attention.wo", dim, width, 1.5)
        norm(layer + "ffn_norm", dim)
        linear(layer + "ada_rms_norm_t_cond.0", ADA_DIM, dim)
        linear(layer + "ada_rms_norm_t_cond.2", dim, ADA_DIM)
        linear(layer + "feed_forward.w1", params["hidden_dim"], dim)
        linear(layer + "feed_forward.w2", dim, params["hidden_dim"], 3.0)
        linear(layer + "feed_forward.w3", params["hidden_dim"], dim)
    norm("norm", dim)
    if has_turns:
        linear(TURNS.removesuffix(".weight"), params["vocab_size"], dim, 2.0)
    return tensors


def transformers_tensors(tensors: dict[str, np.ndarray], params: dict) -> dict[str, np.ndarray]:
    """The same tensors under the names, and with the query and key row order, of transformers."""
    enc = params["multimodal"]["whisper_model_args"]["encoder_args"]
    plain = {
        ENCODER + "transformer.norm": "audio_tower.norm",
        ADAPTER + "audio_language_projection.0": "multi_modal_projector.linear_1",
        ADAPTER + "audio_language_projection.2": "multi_modal_projector.linear_2",
        ADAPTER + "tok_embeddings": "language_model.model.embed_tokens",
        "norm": "language_model.model.norm",
    }
    for i in (0, 1):
        plain[f"{ENCODER}conv_layers.{i}.conv"] = f"audio_tower.embedder.conv{i + 1}"
    shared = {
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
    }
    encoder_layer = {
        **shared,
        "attention_norm": "self_attn_layer_norm",
        "ffn_norm": "final_layer_norm",
    }
    decoder_layer = {
        **shared,
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "ada_rms_norm_t_cond.0": "ada_rms_norm.linear1",
        "ada_rms_norm_t_cond.2": "ada_rms_norm.linear2",
    }
    for i in range(enc["n_layers"]):
        for a, b in encoder_layer.items():
            plain[f"{ENCODER}transformer.layers.{i}.{a}"] = f"audio_tower.layers.{i}.{b}"
    for i in range(params["n_layers"]):
        for a, b in decoder_layer.items():
            plain[f"layers.{i}.{a}"] = f"language_model.model.layers.{i}.{b}"

    renamed = {}
    for name, tensor in tensors.items():
        if name == TURNS:
            renamed[name] = tensor
            continue
        stem, suffix = name.rsplit(".", 1)
        if stem.endswith((".wq", ".wk")):
            head_dim = enc["head_dim"] if name.startswith(ENCODER) else params["head_dim"]
            tensor = halves(tensor, head_dim)
        renamed[f"{plain[stem]}.{suffix}"] = tensor
    return wrapped(renamed) if TURNS in tensors else renamed


def wrapped(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The names of a model in memory that is part of one with a second head."""

    def name(plain: str) -> str:
        if plain == TURNS:
            return plain
        return f"base_model.model.{plain.replace('language_model.model.', 'language_model.')}"

    return {name(plain): tensor for plain, tensor in tensors.items()}


def halves(tensor: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of each head: rotation pairs (2j, 2j+1) become split halves (j, j + head_dim/2)."""
    pairs = tensor.reshape(-1, head_dim // 2, 2, *tensor.shape[1:])
    return pairs.swapaxes(1, 2).reshape(tensor.shape)


# ---- configuration -------------------------------------------------------------------------------


def params_json(s: Sizes) -> dict:
    """params.json of the official layout."""
    common = {"rope_theta": 1e6, "norm_eps": 1e-5, "vocab_size": s.n_vocab, "causal": True}
    encoder = {
        "audio_encoding_args": {
            "sampling_rate": 16000,
            "frame_rate": 12.5,
            "num_mel_bins": N_MEL,
            "hop_length": 160,
            "window_size": 400,
            "chunk_length_s": None,
            "global_log_mel_max": 1.5,
            "transcription_format": "streaming",
        },
        "dim": s.enc_dim,
        "n_layers": s.enc_n_layers,
        "head_dim": s.enc_head_dim,
        "hidden_dim": s.enc_hidden_dim,
        "n_heads": s.enc_n_heads,
        "n_kv_heads": s.enc_n_heads,
        "sliding_window": s.enc_window,
        "use_biases": True,
        "use_cache": False,
        "pos_embed": "rope",
        "max_source_positions": None,
        "ffn_type": "swiglu",
        "norm_type": "rms_norm",
        **common,
    }
    return {
        "dim": s.dec_dim,
        "n_layers": s.dec_n_layers,
        "head_dim": s.dec_head_dim,
        "hidden_dim": s.dec_hidden_dim,
        "n_heads": s.dec_n_heads,
        "n_kv_heads": s.dec_n_kv_heads,
        "sliding_window": s.dec_window,
        "use_biases": False,
        "model_parallel": 1,
        "tied_embeddings": True,
        "model_max_length": 131072,
        **common,
        "multimodal": {
            "whisper_model_args": {
                "encoder_args": encoder,
                "downsample_args": {"downsample_factor": DOWNSAMPLE},
            }
        },
        "ada_rms_norm_t_cond": True,
        "ada_rms_norm_t_cond_dim": ADA_DIM,
    }


def transformers_config(params: dict, delay_ms: int) -> dict:
    """config.json of the transformers layout."""
    enc = params["multimodal"]["whisper_model_args"]["encoder_args"]

    def stack(p: dict) -> dict:
        return {
            "hidden_size": p["dim"],
            "num_hidden_layers": p["n_layers"],
            "num_attention_heads": p["n_heads"],
            "num_key_value_heads": p["n_kv_heads"],
            "head_dim": p["head_dim"],
            "intermediate_size": p["hidden_dim"],
            "hidden_act": "silu",
            "rms_norm_eps": p["norm_eps"],
            # Without this entry transformers takes a theta of 10000 for the encoder.
            "rope_parameters": {"rope_theta": p["rope_theta"], "rope_type": "default"},
            "sliding_window": p["sliding_window"],
            "vocab_size": p["vocab_size"],
        }

    return {
        "architectures": ["VoxtralRealtimeForConditionalGeneration"],
        "model_type": "voxtral_realtime",
        "dtype": "bfloat16",
        "audio_length_per_tok": 8,
        "default_num_delay_tokens": delay_ms // 80,
        "downsample_factor": DOWNSAMPLE,
        "projector_hidden_act": "gelu",
        "hidden_size": params["dim"],
        "tie_word_embeddings": True,
        "audio_config": {
            "model_type": "voxtral_realtime_encoder",
            "num_mel_bins": N_MEL,
            "activation_function": "gelu",
            "max_position_embeddings": 1500,
            **stack(enc),
        },
        "text_config": {
            "model_type": "voxtral_realtime_text",
            "max_position_embeddings": params["model_max_length"],
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 11,
            "tie_word_embeddings": True,
            **stack(params),
        },
    }


PROCESSOR_CONFIG = {
    "feature_extractor": {
        "feature_extractor_type": "VoxtralRealtimeFeatureExtractor",
        "feature_size": N_MEL,
        "sampling_rate": 16000,
        "hop_length": 160,
        "n_fft": 400,
        "win_length": 400,
        "global_log_mel_max": 1.5,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    },
    "processor_class": "VoxtralRealtimeProcessor",
}

# ---- tokenizer -----------------------------------------------------------------------------------

SPECIALS = {
    0: "<unk>",
    1: "<s>",
    2: "</s>",
    3: "[INST]",
    4: "[/INST]",
    5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]",
    7: "[TOOL_RESULTS]",
    8: "[/TOOL_RESULTS]",
    9: "[TOOL_CALLS]",
    10: "[IMG]",
    11: "<pad>",
    12: "[IMG_BREAK]",
    13: "[IMG_END]",
    14: "[PREFIX]",
    15: "[MIDDLE]",
    16: "[SUFFIX]",
    17: "[SYSTEM_PROMPT]",
    18: "[/SYSTEM_PROMPT]",
    19: "[TOOL_CONTENT]",
    24: "[AUDIO]",
    25: "[BEGIN_AUDIO]",
    32: "[STREAMING_PAD]",
    33: "[STREAMING_WORD]",
    34: "[REPEAT_AUDIO_TEXT]",
}

# Characters of two, three and four bytes; their halves are tokens, so text must be joined as bytes.
WIDE = "\u00e9\u00fc\u00f1\u0436\u0434\u03a9\u20ac\u4f60\u597d\u3042\ud55c\U0001f600\U0001f680"
WORDS = ("the", "and", "of", "to", "in", "is", "it", "you", "that", "was", "for", "on", "are", "'s")


def text_tokens(n: int) -> list[bytes]:
    """n distinct byte strings: single bytes, words, whole and half wide characters, syllables."""
    wide = [c.encode() for c in WIDE]
    pieces = [bytes([b]) for b in range(256)]
    pieces += [f" {word}".encode() for word in WORDS]
    for c in wide:
        pieces += [c, b" " + c, b" " + c[:-1], c[1:] + b"a", c[-1:] + c[:1]]
    syllables = [c + v for c in "bdfghjklmnprstvwz" for v in "aeiou"]
    pieces += [f" {a}{b}".encode() for a, b in itertools.product(syllables, repeat=2)]
    unique = list(dict.fromkeys(pieces))
    assert len(unique) >= n, f"at most {len(unique) + N_SPECIAL} tokens"
    return unique[:n]


def tekken_json(s: Sizes) -> dict:
    """tekken.json: text tokens by rank, special tokens by name, and the stream's audio settings."""
    vocab = []
    for rank, piece in enumerate(text_tokens(s.n_vocab - N_SPECIAL)):
        try:
            text = piece.decode()
        except UnicodeDecodeError:
            text = None
        token_bytes = base64.b64encode(piece).decode()
        vocab.append({"rank": rank, "token_bytes": token_bytes, "token_str": text})
    return {
        "config": {
            "pattern": r"[^\s]+|\s+",
            "num_vocab_tokens": len(vocab),
            "default_vocab_size": s.n_vocab,
            "default_num_special_tokens": N_SPECIAL,
            "version": "v7",
        },
        "vocab": vocab,
        "special_tokens": [
            {"rank": rank, "token_str": SPECIALS.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
            for rank in range(max(SPECIALS) + 1)
        ],
        "audio": {
            "sampling_rate": 16000,
            "frame_rate": 12.5,
            "audio_encoding_config": {
                "num_mel_bins": N_MEL,
                "hop_length": 160,
                "window_size": 400,
            },
            "chunk_length_s": None,
            "transcription_format": "streaming",
            "transcription_delay_ms": s.delay_ms,
            "streaming_look_ahead_ms": 2.5,
            "streaming_look_back_ms": 52.5,
            "streaming_n_left_pad_tokens": 32,
        },
    }


# ---- audio ---------------------------------------------------------------------------------------


def make_audio(n: int, seed: int = 0) -> np.ndarray:
    """n samples of chirps, noise bursts and silence, f32 in [-0.5, 0.5], exact in 16 bits.

    transformers passes audio through a 16-bit WAV; exact samples make that a copy.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 16000
    base, sweep = 150 + 200 * rng.random(), 100 + 500 * rng.random()
    wave = 0.3 * np.sin(2 * np.pi * (base * t + sweep * t**2)) * (np.sin(2 * np.pi * 1.7 * t) > 0)
    wave += 0.1 * rng.standard_normal(n) * (np.sin(2 * np.pi * 2.3 * t + 1) > 0.3)
    wave *= np.sin(2 * np.pi * 0.31 * t + rng.random()) > -0.8
    return (np.rint(np.clip(wave, -0.5, 0.5) * 32768) / 32768).astype(np.float32)

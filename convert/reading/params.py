"""Hyperparameters of a checkpoint, from params.json (official) or config.json (transformers).

Both files say the same in different words; Params is what they say. Values that the architecture
fixes are checked here, so that a checkpoint of another model is refused by name and not by noise.
"""

from __future__ import annotations

from dataclasses import dataclass

from .json_file import Section, shown
from .limits import ADA_DIM as ADA_DIM_LIMIT
from .limits import N_KV_HEADS, N_VOCAB, STACK

ADA_DIM = 32  # bottleneck of the delay conditioning; transformers has it hard coded
DOWNSAMPLE = 4  # encoder frames in one audio embedding


@dataclass(frozen=True)
class Stack:
    """Sizes of one transformer; window in its own positions."""

    n_layers: int
    dim: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_dim: int
    window: int
    rope_theta: float
    norm_eps: float


@dataclass(frozen=True)
class Params:
    """Sizes of the model."""

    encoder: Stack
    decoder: Stack
    n_vocab: int
    ada_dim: int


PUBLISHED = Params(  # its params.json
    encoder=Stack(32, 1280, 32, 32, 64, 5120, window=750, rope_theta=1e6, norm_eps=1e-5),
    decoder=Stack(26, 3072, 32, 8, 128, 9216, window=8192, rope_theta=1e6, norm_eps=1e-5),
    n_vocab=131072,
    ada_dim=ADA_DIM,
)


def official(params: Section) -> Params:
    """Read params.json."""
    whisper = params.section("multimodal").section("whisper_model_args")
    encoder = whisper.section("encoder_args")
    params.require(causal=True, use_biases=False, tied_embeddings=True, ada_rms_norm_t_cond=True)
    encoder.require(
        causal=True, use_biases=True, ffn_type="swiglu", norm_type="rms_norm", pos_embed="rope"
    )
    whisper.section("downsample_args").require(downsample_factor=DOWNSAMPLE)
    encoder.section("audio_encoding_args").require(
        sampling_rate=16000, num_mel_bins=128, hop_length=160, window_size=400,
        global_log_mel_max=1.5,
    )  # fmt: skip
    return Params(
        encoder=_checked_encoder(encoder, _official_stack(encoder)),
        decoder=_checked_decoder(params, _official_stack(params)),
        n_vocab=params.count("vocab_size", N_VOCAB),
        ada_dim=params.count("ada_rms_norm_t_cond_dim", ADA_DIM_LIMIT),
    )


def _official_stack(p: Section) -> Stack:
    return _checked(p, Stack(
        n_layers=p.count("n_layers", STACK["n_layers"]),
        dim=p.count("dim", STACK["dim"]),
        n_heads=p.count("n_heads", STACK["n_heads"]),
        n_kv_heads=p.count("n_kv_heads", N_KV_HEADS),
        head_dim=p.count("head_dim", STACK["head_dim"]),
        hidden_dim=p.count("hidden_dim", STACK["hidden_dim"]),
        window=_window(p),
        rope_theta=p.number("rope_theta"),
        norm_eps=p.number("norm_eps"),
    ))  # fmt: skip


def transformers(config: Section) -> Params:
    """Read config.json."""
    config.require(
        model_type="voxtral_realtime", downsample_factor=DOWNSAMPLE, projector_hidden_act="gelu",
        tie_word_embeddings=True,
    )  # fmt: skip
    audio, text = config.section("audio_config"), config.section("text_config")
    audio.require(hidden_act="silu", num_mel_bins=128)
    text.require(hidden_act="silu", tie_word_embeddings=True)
    return Params(
        encoder=_checked_encoder(audio, _transformers_stack(audio)),
        decoder=_checked_decoder(text, _transformers_stack(text)),
        n_vocab=text.count("vocab_size", N_VOCAB),
        ada_dim=ADA_DIM,
    )


def _transformers_stack(p: Section) -> Stack:
    n_heads = p.count("num_attention_heads", STACK["n_heads"])
    # The encoder's heads all have their own keys, so its configuration need not say so.
    grouped = "num_key_value_heads" in p.values
    return _checked(p, Stack(
        n_layers=p.count("num_hidden_layers", STACK["n_layers"]),
        dim=p.count("hidden_size", STACK["dim"]),
        n_heads=n_heads,
        n_kv_heads=p.count("num_key_value_heads", N_KV_HEADS) if grouped else n_heads,
        head_dim=p.count("head_dim", STACK["head_dim"]),
        hidden_dim=p.count("intermediate_size", STACK["hidden_dim"]),
        window=_window(p),
        rope_theta=_rope_theta(p),
        norm_eps=p.number("rms_norm_eps"),
    ))  # fmt: skip


def _rope_theta(p: Section) -> float:
    """Theta from rope_parameters, or from the older rope_theta beside the other keys."""
    if "rope_parameters" in p.values:
        rope = p.section("rope_parameters")
        rope.require(rope_type="default")
        if "rope_theta" in rope.values:
            return rope.number("rope_theta")
    if "rope_theta" in p.values:
        return p.number("rope_theta")
    # The class default of the encoder, 1e4, is not what the weights were trained with.
    raise p.wrong(
        "rope_parameters.rope_theta",
        "is missing, and the default of transformers would give wrong text: use the config.json "
        "that came with the weights",
    )


def _window(p: Section) -> int:
    """sliding_window: a number, or the digits of one; other models have a list, one per layer."""
    value, (low, high) = p.values.get("sliding_window"), STACK["window"]
    if isinstance(value, str) and value.isdecimal() and len(value) <= len(str(high)):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise p.wrong(
            "sliding_window", f"is {shown(value)}, not one whole number from {low} to {high}"
        )
    return value


def _checked(p: Section, stack: Stack) -> Stack:
    if stack.n_heads % stack.n_kv_heads:
        raise p.wrong(
            "n_heads", f"({stack.n_heads}) is no multiple of n_kv_heads ({stack.n_kv_heads})"
        )
    if stack.head_dim % 2:
        raise p.wrong("head_dim", f"is {stack.head_dim}: rotation needs pairs")
    return stack


def _checked_encoder(p: Section, stack: Stack) -> Stack:
    if stack.n_kv_heads != stack.n_heads:
        raise p.wrong(
            "n_kv_heads", f"is {stack.n_kv_heads}, not {stack.n_heads}, as many as heads: this is "
            "another architecture"
        )  # fmt: skip
    return stack


def _checked_decoder(p: Section, stack: Stack) -> Stack:
    if stack.dim % 2:
        raise p.wrong("dim", f"is {stack.dim}: the embedding of the delay needs halves")
    return stack

"""Write a checkpoint as the GGUF file that transcribe-cpp reads, for measuring side by side.

    python scripts/peer_gguf.py CHECKPOINT MODEL.gguf

So both programs run the same weights. Types are those of that program's Q4_K_M: matrices Q4_K,
attention outputs Q8_0, the embedding Q6_K, rows that are no multiple of 256 Q8_0, all else F32;
the packing is ggml's own in both. Besides names three things differ from our file: rotated pairs
are halves of a head instead of neighbours, convolutions are [out, in, taps], and the tables of the
mel spectrum and of the time embedding are tensors of the file; a head for turns is left out, which
that program does not know. Needs a checkpoint in the official layout; only slices of it are in
memory.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Kind
from voxtral_edge.console.output import Output, OutputError, identities, is_gguf
from voxtral_edge.convert import Checkpoint, ConversionError
from voxtral_edge.convert.conversion import for_each_slice, write_all
from voxtral_edge.convert.reading.checkpoint import Slice
from voxtral_edge.convert.reading.params import DOWNSAMPLE, Params, Stack
from voxtral_edge.convert.reading.tensors import CONV_TAPS, N_MEL, Tensor
from voxtral_edge.convert.writing.gguf_file import Value, write_header
from voxtral_edge.convert.writing.quantize import pack

ARCHITECTURE = "voxtral_realtime"
PREFIX = f"stt.{ARCHITECTURE}."
RATE, N_FFT, HOP = 16000, 400, 160
SMALL_BLOCK, LARGE_BLOCK = 32, 256  # values in a block of Q8_0, and of the K types
TURNS = "dec.turn.weight"
PLACES = {
    "enc.conv1": "enc.conv.0",
    "enc.conv2": "enc.conv.1",
    "enc.norm": "enc.final_norm",
    "adapter.1": "proj.linear_1",
    "adapter.2": "proj.linear_2",
    "dec.embed": "dec.token_embd",
    "dec.norm": "dec.output_norm",
}
PARTS = {
    "attn_norm": "norm_attn",
    "ffn_norm": "norm_ffn",
    "attn_q": "attn.q",
    "attn_k": "attn.k",
    "attn_v": "attn.v",
    "ffn_gate": "ffn.gate",
    "ffn_up": "ffn.up",
    "ffn_down": "ffn.down",
    "ada_down": "ada.linear_1",
    "ada_up": "ada.linear_2",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a folder")
    parser.add_argument("target", type=Path, metavar="MODEL.gguf", help="the file to write")
    args = parser.parse_args()
    try:
        write(args.checkpoint, args.target)
    except ConversionError as error:
        print(f"peer_gguf: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"peer_gguf: {error}", file=sys.stderr)
        return 1
    print(f"{args.target}: {args.target.stat().st_size / 1e9:.2f} GB")
    return 0


def write(checkpoint: Path, target: Path) -> None:
    """Write the file; all or nothing. Raises ConversionError, OSError."""
    with Checkpoint(checkpoint) as source:
        if source.layout != "official":
            raise ConversionError(f"{checkpoint} is no checkpoint in the official layout")
        kept = [tensor for tensor in source.tensors if tensor.name != TURNS]
        names = {tensor.name: peer_name(tensor) for tensor in kept}
        layout = {names[t.name]: (peer_type(t), t.shape) for t in kept}
        tables = constants(source.params)
        layout |= {name: (Type.F32, table.shape) for name, table in tables.items()}
        inputs = identities(source.paths)
        with Output(target, inputs=inputs, over=is_gguf, anywhere=True) as output:
            assert output.part is not None
            fd = output.fd
            places, size = write_header(output.part, ARCHITECTURE, metadata(source), layout)
            try:
                os.posix_fallocate(fd, 0, size)
            except OSError as error:
                raise OutputError(str(target), error) from error
            for name, table in tables.items():
                write_all(fd, table.view(np.uint8).reshape(-1), places[name].offset)

            def put(slice_: Slice) -> None:
                if slice_.tensor.name == TURNS:
                    return
                place = places[names[slice_.tensor.name]]
                offset = place.offset + slice_.start * (place.n_bytes // place.shape[0])
                write_all(fd, pack(peer_values(slice_), place.type), offset)

            for_each_slice(source, put, None, None)


def peer_name(tensor: Tensor) -> str:
    stem, suffix = tensor.name.rsplit(".", 1)
    if stem in PLACES:
        return f"{PLACES[stem]}.{suffix}"
    stack, _, layer, part = stem.split(".")
    if part == "attn_out":
        return f"{stack}.blocks.{layer}.attn.{'out' if stack == 'enc' else 'o'}.{suffix}"
    return f"{stack}.blocks.{layer}.{PARTS[part]}.{suffix}"


def peer_type(tensor: Tensor) -> Type:
    if len(tensor.shape) != 2:
        return Type.F32
    if tensor.name == "dec.embed.weight":
        wanted = Type.Q6_K
    else:
        wanted = Type.Q8_0 if tensor.name.endswith("attn_out.weight") else Type.Q4_K
    n_row = tensor.shape[1]
    if n_row % LARGE_BLOCK == 0:
        return wanted
    return Type.Q8_0 if n_row % SMALL_BLOCK == 0 else Type.F16


def peer_values(slice_: Slice) -> np.ndarray:
    """The rows of a slice, [rows, n], in the order of that program."""
    values, tensor = slice_.values(), slice_.tensor
    if tensor.head_dim:
        n_columns = values.size // (slice_.stop - slice_.start)
        pairs = values.reshape(-1, tensor.head_dim // 2, 2, n_columns)
        values = pairs.swapaxes(1, 2).reshape(values.shape)
    elif tensor.is_conv:
        taps = values.reshape(len(values), CONV_TAPS, -1)
        values = taps.swapaxes(1, 2).reshape(values.shape)
    return np.ascontiguousarray(values)


def constants(params: Params) -> dict[str, np.ndarray]:
    """The tables that the file must bring."""
    half = params.decoder.dim // 2
    phase = 2 * np.pi * np.arange(N_FFT) / N_FFT
    return {
        "frontend.mel_filterbank": mel_filters(),
        "frontend.window": (0.5 - 0.5 * np.cos(phase)).astype("<f4"),
        "dec.time_embed.inv_freq": (1e4 ** -(np.arange(half) / half)).astype("<f4"),
    }


def mel_filters() -> np.ndarray:
    """Triangles of equal area, [n_mel, n_fft / 2 + 1], evenly spaced on Slaney's mel scale.

    The scale is linear up to 1 kHz, which is mel 15, and logarithmic from there on.
    """
    step = np.log(6.4) / 27
    mel = np.linspace(0.0, 15 + np.log(RATE / 2 / 1000) / step, N_MEL + 2)
    hz = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * step))
    low, middle, high = (hz[i : i + N_MEL, None] for i in range(3))
    bins = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    triangles = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    return (np.maximum(triangles, 0) * 2 / (high - low)).astype("<f4")


def metadata(source: Checkpoint) -> dict[str, Value]:
    params, vocabulary = source.params, source.vocabulary
    flags = {
        "stt.capability.lang_detect": True,
        "stt.capability.translate": False,
        "stt.capability.streaming": True,
        "stt.frontend.center": True,
        PREFIX + "decoder.tie_word_embeddings": True,
    }
    words = {
        "general.name": "Voxtral realtime",
        "stt.variant": "voxtral-mini-4b-realtime-2602",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "tekken",
        "stt.frontend.type": "mel",
        "stt.frontend.window": "hann_periodic",
        "stt.frontend.normalize": "global",
        "stt.frontend.pad_mode": "reflect",
        "stt.frontend.mel_norm": "slaney",
        PREFIX + "encoder.hidden_act": "silu",
        PREFIX + "projector.hidden_act": "gelu",
        PREFIX + "decoder.hidden_act": "silu",
    }
    counts = {
        "tokenizer.ggml.bos_token_id": vocabulary.bos,
        "tokenizer.ggml.eos_token_id": vocabulary.eos,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 11,
        "stt.frontend.num_mels": N_MEL,
        "stt.frontend.sample_rate": RATE,
        "stt.frontend.n_fft": N_FFT,
        "stt.frontend.win_length": N_FFT,
        "stt.frontend.hop_length": HOP,
        PREFIX + "streaming_pad_token_id": vocabulary.streaming_pad,
        PREFIX + "encoder.d_model": params.encoder.dim,
        PREFIX + "encoder.ffn_dim": params.encoder.hidden_dim,
        PREFIX + "encoder.num_mel_bins": N_MEL,
        PREFIX + "encoder.max_position_embeddings": 1500,
        PREFIX + "projector.downsample_factor": DOWNSAMPLE,
        PREFIX + "projector.input_dim": DOWNSAMPLE * params.encoder.dim,
        PREFIX + "projector.audio_length_per_tok": 8,
        PREFIX + "decoder.hidden_size": params.decoder.dim,
        PREFIX + "decoder.intermediate_size": params.decoder.hidden_dim,
        PREFIX + "decoder.max_position_embeddings": 131072,
        PREFIX + "decoder.vocab_size": params.n_vocab,
        PREFIX + "time.default_num_delay_tokens": vocabulary.default_delay_ms // 80,
        PREFIX + "time.embed_dim": params.decoder.dim,
        PREFIX + "time.ada_hidden": params.ada_dim,
    }
    numbers = {
        "stt.frontend.global_log_mel_max": 1.5,
        "stt.frontend.dither": 0.0,
        "stt.frontend.pre_emphasis": 0.0,
        "stt.frontend.f_min": 0.0,
        "stt.frontend.f_max": RATE / 2,
        PREFIX + "time.embed_theta": 1e4,
    }
    stacks: tuple[tuple[str, Stack], ...] = (
        ("encoder", params.encoder),
        ("decoder", params.decoder),
    )
    for name, stack in stacks:
        key = f"{PREFIX}{name}."
        counts |= {
            key + "n_layers": stack.n_layers,
            key + "n_heads": stack.n_heads,
            key + "n_kv_heads": stack.n_kv_heads,
            key + "head_dim": stack.head_dim,
            key + "sliding_window": stack.window,
        }
        numbers |= {key + "rope_theta": stack.rope_theta, key + "rms_norm_eps": stack.norm_eps}
    n_special, n_vocab = vocabulary.n_special, params.n_vocab
    tokens = [f"<SPECIAL_{i}>" for i in range(n_special)]
    tokens += [
        token.decode("latin-1").translate(LETTERS) for token in vocabulary.tokens[n_special:]
    ]
    types = [3] * n_special + [1] * (n_vocab - n_special)  # control, normal
    keys = {key: Value(Kind.BOOL, flag) for key, flag in flags.items()}
    keys |= {key: Value(Kind.STRING, text) for key, text in words.items()}
    keys |= {key: Value(Kind.UINT32, count) for key, count in counts.items()}
    keys |= {key: Value(Kind.FLOAT32, number) for key, number in numbers.items()}
    keys["tokenizer.ggml.tokens"] = Value(Kind.ARRAY, tokens, Kind.STRING)
    keys["tokenizer.ggml.token_type"] = Value(Kind.ARRAY, types, Kind.INT32)
    return keys


def _letters() -> dict[int, int]:
    """GPT-2's letter for each byte that has no printable one of its own."""
    own = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in own]
    return {byte: 256 + i for i, byte in enumerate(others)}


LETTERS = _letters()


if __name__ == "__main__":
    sys.exit(main())

"""Runs the compiled core on a clip and returns what tests/reference.py returns, by the same names.

core_run() speaks to the C interface directly, so that no Python layer lies between.
official_tensors() reads a GGUF file back into the official checkpoint's names: with it the numpy
model runs on the very weights, quantised or not, that the core runs on.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from voxtral_edge._voxtral import ffi, lib
from voxtral_edge.convert import GgufFile

N_MEL, CONV_TAPS = 128, 3
ADAPTER = "mm_streams_embeddings.embedding_module."
ENCODER = ADAPTER + "whisper_encoder."


def core_run(
    model_path: Path,
    samples: np.ndarray,
    delay_ms: int = 480,
    *,
    chunk: int | None = None,
    batch_ms: int = 0,
    n_threads: int = 1,
    watch: bool = True,
) -> dict:
    """Transcribe samples [n]; every probe (if watch), "tokens", "text", "slots" and "turns".

    chunk: samples per push, with all text drawn in between; None: all in one push.
    """
    message = ffi.new("char[512]")

    def check(status: int, where: str, detail: str = "") -> None:
        if status < 0:
            name = ffi.string(lib.vox_status_name(status)).decode()
            raise RuntimeError(f"{where}: {name}: {detail or ffi.string(message).decode()}")

    model, stream = ffi.new("vox_model **"), ffi.new("vox_stream **")
    model_params = ffi.new("vox_model_params *", {"n_threads": n_threads})
    opened = lib.vox_model_open(
        str(model_path).encode(), model_params, model, message, len(message)
    )
    check(opened, "vox_model_open")
    try:
        info = ffi.new("vox_model_info *")
        check(lib.vox_model_describe(model[0], info), "vox_model_describe")
        params = lib.vox_stream_default_params()
        params.delay_ms, params.batch_ms = delay_ms, batch_ms
        check(
            lib.vox_stream_open(model[0], ffi.addressof(params), stream, message, len(message)),
            "vox_stream_open",
        )
        try:
            return _drain(stream[0], samples, chunk, _watch(stream[0], info) if watch else {})
        finally:
            lib.vox_stream_close(stream[0])
    finally:
        lib.vox_model_close(model[0])


def _watch(stream, info) -> dict[str, int]:
    """Watch everything there is; the width of each tensor."""
    widths = {
        "mel": N_MEL,
        "conv": info.encoder_dim,
        "enc.out": info.encoder_dim,
        "audio": info.decoder_dim,
        "dec.logits": info.n_vocab,
    }
    for name in widths:
        if lib.vox_stream_watch(stream, name.encode()) != lib.VOX_OK:
            raise RuntimeError(f"vox_stream_watch refuses {name}")
    for stack, width in (("enc", info.encoder_dim), ("dec", info.decoder_dim)):
        for i in itertools.count():
            name = f"{stack}.blk.{i}"
            if lib.vox_stream_watch(stream, name.encode()) != lib.VOX_OK:
                break  # the model has i layers
            widths[name] = width
    return widths


def _drain(stream, samples: np.ndarray, chunk: int | None, widths: dict[str, int]) -> dict:
    rows: dict[str, list[np.ndarray]] = {name: [] for name in widths}
    tokens, slots, text = [], [], b""
    turns: list[np.ndarray] = []
    slot = ffi.new("vox_slot *")
    samples = np.ascontiguousarray(samples, np.float32)
    chunk = chunk or max(len(samples), 1)
    parts = [samples[i : i + chunk] for i in range(0, len(samples), chunk)]
    for part in [*parts, None]:
        if part is None:
            status = lib.vox_stream_finish(stream)
        else:
            status = lib.vox_stream_push(stream, ffi.from_buffer("float[]", part), len(part))
        while status in (lib.VOX_OK, lib.VOX_SLOT):
            status = lib.vox_stream_next(stream, slot)
            if status == lib.VOX_SLOT:
                tokens.append(slot.token)
                slots.append(slot.index)
                text += ffi.buffer(slot.text, slot.n_text)[:]
                if slot.turn >= 0:
                    turns.append(np.array(list(slot.turns), np.float32))
                    assert slot.turn == turns[-1].argmax()
            for name, width in widths.items():
                n = lib.vox_stream_tensor(stream, name.encode(), ffi.NULL, 0)
                values = np.empty((max(n, 0) // width, width), np.float32)
                got = lib.vox_stream_tensor(
                    stream, name.encode(), ffi.from_buffer("float[]", values), values.size
                )
                if n < 0 or got != n or values.size != n:
                    raise RuntimeError(f"vox_stream_tensor {name}: {n}, then {got}, width {width}")
                rows[name].append(values)
        if status < 0:
            raise RuntimeError(ffi.string(lib.vox_stream_message(stream)).decode())
    probes: dict = {name: np.concatenate(parts) for name, parts in rows.items()}
    probes["tokens"], probes["slots"] = np.array(tokens), np.array(slots)
    probes["text"] = text.decode("utf-8")
    if turns:
        probes["turns"] = np.stack(turns)
    return probes


# ---- weights ------------------------------------------------------------------------------------

LAYER = {
    "attn_norm": "attention_norm",
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_out": "attention.wo",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_up": "feed_forward.w3",
    "ffn_down": "feed_forward.w2",
    "ada_down": "ada_rms_norm_t_cond.0",
    "ada_up": "ada_rms_norm_t_cond.2",
}
PLACES = {
    "enc.conv1": ENCODER + "conv_layers.0.conv",
    "enc.conv2": ENCODER + "conv_layers.1.conv",
    "enc.norm": ENCODER + "transformer.norm",
    "adapter.1": ADAPTER + "audio_language_projection.0",
    "adapter.2": ADAPTER + "audio_language_projection.2",
    "dec.embed": ADAPTER + "tok_embeddings",
    "dec.norm": "norm",
    "dec.turn": "vad_lm_head",
}
STACKS = {"enc": ENCODER + "transformer.layers", "dec": "layers"}


def official_name(name: str) -> str:
    """A tensor's name in the official checkpoint."""
    stem, suffix = name.rsplit(".", 1)
    if stem not in PLACES:
        stack, _, layer, part = stem.split(".")
        return f"{STACKS[stack]}.{layer}.{LAYER[part]}.{suffix}"
    return f"{PLACES[stem]}.{suffix}"


def official_tensors(model_path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a GGUF file by official name and in official shape, unpacked to f32."""
    tensors = {}
    with GgufFile(model_path) as file:
        for name, info in file.tensors.items():
            values = np.concatenate(list(file.pieces(name))).reshape(info.shape)
            if name in ("enc.conv1.weight", "enc.conv2.weight"):  # columns are (tap, channel)
                values = values.reshape(info.shape[0], CONV_TAPS, -1).transpose(0, 2, 1)
            tensors[official_name(name)] = values
    return tensors

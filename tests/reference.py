"""The model in plain numpy: the executable form of docs/model.md.

A checkpoint in the official layout and a whole clip go in; every intermediate result comes out,
under the names that vox_stream_watch() uses. The order and the names are those of csrc: mel, conv
stem, encoder, adapter, decoder, text. Nothing is streamed here: the whole clip is in memory and
attention masks do what the rings of the core do, so the two agree only if both are right.
Arithmetic is f32; the mel spectrum, the rotation angles and the delay embedding are computed in
f64 and then rounded.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16000
HOP, WINDOW, N_MEL = 160, 400, 128  # samples, samples, bins (params.json, audio_encoding_args)
LOG_MEL_MAX = 1.5  # params.json, global_log_mel_max
SLOT = 1280  # samples: 80 ms, 8 mel frames, 4 encoder frames, 1 token
N_WORD_BUFFER = 10  # slots after the delay in which the last words come out (mistral_common)
ADAPTER = "mm_streams_embeddings.embedding_module."
ENCODER = ADAPTER + "whisper_encoder."
TURN_HEAD = "vad_lm_head.weight"
N_TURNS, TURN_ROWS = 6, slice(35, 41)  # its other rows mean nothing

Array = np.ndarray
_erf = np.frompyfunc(math.erf, 1, 1)


class Reference:
    """One checkpoint directory (params.json, consolidated.safetensors, tekken.json)."""

    def __init__(self, directory: Path, tensors: dict[str, Array] | None = None) -> None:
        """Read everything; tensors, by official name, replace those of the file."""
        directory = Path(directory)
        self.decoder = json.loads((directory / "params.json").read_text(encoding="utf-8"))
        self.encoder = self.decoder["multimodal"]["whisper_model_args"]["encoder_args"]
        self.tensors = tensors or read_safetensors(directory / "consolidated.safetensors")
        self.vocabulary = Vocabulary(directory / "tekken.json")

    def run(self, samples: Array, delay_ms: int = 480, forced: Array | None = None) -> dict:
        """Transcribe samples [n] and return every probe, "tokens" and "text".

        forced: token ids fed back in place of the decoder's own choices.
        """
        n_delay = delay_ms // 80
        probes: dict = {"mel": log_mel(self.pad(samples, n_delay))}
        probes["conv"] = self.conv_stem(probes["mel"])
        self.encode(probes)
        probes["audio"] = self.adapt(probes["enc.out"])
        self.decode(probes, n_delay, forced)
        probes["text"] = self.vocabulary.text(probes["tokens"])
        return probes

    # ---- audio ----------------------------------------------------------------------------------

    def pad(self, samples: Array, n_delay: int) -> Array:
        """Silence before and after: [n] -> [1280 N], N = left + ceil(n / 1280) + n_delay + 11."""
        left = self.vocabulary.n_left_pad * SLOT
        right = -len(samples) % SLOT + (n_delay + 1 + N_WORD_BUFFER) * SLOT
        return np.pad(samples, (left, right))

    def conv_stem(self, mel: Array) -> Array:
        """Two causal convolutions of width 3, strides 1 and 2: [8N, 128] -> [4N, dim]."""
        h = mel
        for i, stride in enumerate((1, 2)):
            weight = self.tensors[f"{ENCODER}conv_layers.{i}.conv.weight"]  # [out, in, 3]
            h = np.pad(h, ((3 - stride, 0), (0, 0)))  # zeros in feature space, before the first row
            taps = [h[k : len(h) - 2 + k : stride] @ weight[:, :, k].T for k in range(3)]
            h = gelu(sum(taps) + self.tensors[f"{ENCODER}conv_layers.{i}.conv.bias"])
        return h

    def encode(self, probes: dict) -> None:
        """conv [4N, dim] -> enc.blk.i and enc.out, all [4N, dim]."""
        h, position = probes["conv"], np.arange(len(probes["conv"]))
        for i in range(self.encoder["n_layers"]):
            prefix = f"{ENCODER}transformer.layers.{i}."
            h = self.block(h, prefix, self.encoder, position, cache={})
            probes[f"enc.blk.{i}"] = h
        norm = self.tensors[ENCODER + "transformer.norm.weight"]
        probes["enc.out"] = rms_norm(h, norm, self.encoder["norm_eps"])

    def adapt(self, frames: Array) -> Array:
        """Four frames side by side through two layers: [4N, dim] -> [N, decoder dim]."""
        stacked = frames.reshape(len(frames) // 4, -1)
        hidden = gelu(self.linear(stacked, ADAPTER + "audio_language_projection.0"))
        return self.linear(hidden, ADAPTER + "audio_language_projection.2")

    # ---- text -----------------------------------------------------------------------------------

    def decode(self, probes: dict, n_delay: int, forced: Array | None) -> None:
        """audio [N, dim] -> dec.blk.i [N-1, dim], dec.logits [n_out, n_vocab], tokens [n_out], and
        of a model that has a head for them turns [n_out, 6].

        n_out = N - n_prompt: the last audio row is not used, as in transformers.
        """
        audio, eps = probes["audio"], self.decoder["norm_eps"]
        embed = self.tensors[ADAPTER + "tok_embeddings.weight"]  # [n_vocab, dim], tied
        scales = [self.ada_scale(i, n_delay) for i in range(self.decoder["n_layers"])]
        caches: list[dict] = [{} for _ in scales]
        rows: list[list[Array]] = [[] for _ in scales]
        hidden, logits, tokens = [], [], []

        pads = self.vocabulary.n_left_pad + n_delay
        ids = [self.vocabulary.bos] + [self.vocabulary.streaming_pad] * pads
        position = np.arange(len(ids))
        while position[-1] < len(audio) - 1:
            h = embed[ids] + audio[position]
            for i, (scale, cache) in enumerate(zip(scales, caches, strict=True)):
                h = self.block(h, f"layers.{i}.", self.decoder, position, cache, scale)
                rows[i].append(h)
            hidden.append(rms_norm(h[-1], self.tensors["norm.weight"], eps))
            logits.append(hidden[-1] @ embed.T)
            tokens.append(int(logits[-1].argmax()))
            ids = [tokens[-1] if forced is None else int(forced[len(tokens) - 1])]
            position = position[-1:] + 1
        for i, parts in enumerate(rows):
            probes[f"dec.blk.{i}"] = np.concatenate(parts)
        probes["dec.logits"], probes["tokens"] = np.stack(logits), np.array(tokens)
        if TURN_HEAD in self.tensors:
            probes["turns"] = self.turn_states(np.stack(hidden))

    def turn_states(self, y: Array) -> Array:
        """What the output matrix is given, [n, dim] -> probabilities of the states, [n, 6]."""
        head = self.tensors[TURN_HEAD]
        logits = y @ (head if len(head) == N_TURNS else head[TURN_ROWS]).T
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def ada_scale(self, layer: int, n_delay: int) -> Array:
        """What multiplies the normalised feed-forward input of a decoder layer, [dim]."""
        half = self.decoder["dim"] // 2
        angle = n_delay * 10000.0 ** (-np.arange(half) / half)
        delay = np.concatenate([np.cos(angle), np.sin(angle)]).astype(np.float32)
        prefix = f"layers.{layer}.ada_rms_norm_t_cond."
        return 1 + self.linear(gelu(self.linear(delay, prefix + "0")), prefix + "2")

    # ---- shared by encoder and decoder -----------------------------------------------------------

    def block(
        self,
        h: Array,
        prefix: str,
        sizes: dict,
        position: Array,
        cache: dict,
        scale: Array | None = None,
    ) -> Array:
        """One layer on rows h [T, dim] at absolute positions [T]; cache holds the rows before."""
        y = rms_norm(h, self.tensors[prefix + "attention_norm.weight"], sizes["norm_eps"])
        q, k, v = (
            self.linear(y, f"{prefix}attention.{name}").reshape(len(h), -1, sizes["head_dim"])
            for name in ("wq", "wk", "wv")
        )  # [T, heads, head_dim]
        q, k = (rotate(x, position, sizes["rope_theta"]) for x in (q, k))
        for name, new in (("k", k), ("v", v)):
            cache[name] = np.concatenate([cache[name], new]) if name in cache else new
        mixed = attend(q, cache["k"], cache["v"], position, sizes["sliding_window"])
        h = h + self.linear(mixed, prefix + "attention.wo")

        y = rms_norm(h, self.tensors[prefix + "ffn_norm.weight"], sizes["norm_eps"])
        if scale is not None:
            y = y * scale
        feed = prefix + "feed_forward."
        gated = silu(self.linear(y, feed + "w1")) * self.linear(y, feed + "w3")
        return h + self.linear(gated, feed + "w2")

    def linear(self, x: Array, name: str) -> Array:
        """[..., in] -> [..., out], with the bias if the checkpoint has one."""
        y = x @ self.tensors[name + ".weight"].T
        bias = self.tensors.get(name + ".bias")
        return y if bias is None else y + bias


def attend(q: Array, k: Array, v: Array, position: Array, window: int) -> Array:
    """Causal attention of q [T, heads, d] at the given positions over k, v [S, kv heads, d].

    Key row s is position s. A query sees the window keys that end with itself. Query heads share
    key heads in equal groups. Returns [T, heads * d].
    """
    n_q, n_heads, head_dim = q.shape
    group = n_heads // k.shape[1]
    q, k, v = (x.transpose(1, 0, 2) for x in (q, k.repeat(group, 1), v.repeat(group, 1)))
    distance = position[:, None] - np.arange(k.shape[1])
    visible = (distance >= 0) & (distance < window)
    scores = q @ k.transpose(0, 2, 1) / np.float32(math.sqrt(head_dim))
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ v).transpose(1, 0, 2).reshape(n_q, -1)


def rotate(x: Array, position: Array, theta: float) -> Array:
    """Turn pair (2j, 2j+1) of each head of x [T, heads, d] by position * theta^(-2j/d)."""
    head_dim = x.shape[-1]
    angle = position[:, None, None] * theta ** (-np.arange(0, head_dim, 2) / head_dim)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)
    return turned.reshape(x.shape)


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """Scale the last axis to unit mean square, then by weight."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * weight


def silu(x: Array) -> Array:
    """Swish: x times the logistic function of x, written so that exp cannot overflow."""
    return x * (0.5 * (1 + np.tanh(0.5 * x)))


def gelu(x: Array) -> Array:
    """Exact GELU, by the error function; the tanh form differs by up to 5e-4."""
    return (0.5 * x * (1 + _erf(x / math.sqrt(2)).astype(np.float64))).astype(np.float32)


# ---- mel ----------------------------------------------------------------------------------------


def log_mel(padded: Array) -> Array:
    """[160 T] -> log-mel frames [T, 128]; frame f is centred on sample 160 f."""
    n_frames = len(padded) // HOP
    padded = np.pad(padded.astype(np.float64), WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: n_frames * HOP : HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)  # periodic
    power = np.abs(np.fft.rfft(frames * hann)) ** 2  # [T, 201], bin k is 40 k Hz
    log = np.log10(np.maximum(power @ mel_filters(), 1e-10))
    # A fixed ceiling in place of the loudest frame of the clip is what makes streaming exact.
    return ((np.maximum(log, LOG_MEL_MAX - 8) + 4) / 4).astype(np.float32)


def mel_filters() -> Array:
    """Triangles of unit area on the Slaney scale, 0 to 8 kHz: [201, 128]."""
    top = 15 + 27 * math.log(8) / math.log(6.4)  # linear to 1 kHz = 15 mel, logarithmic above
    mels = np.linspace(0, top, N_MEL + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * math.log(6.4) / 27))
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    hz = np.arange(WINDOW // 2 + 1)[:, None] * SAMPLE_RATE / WINDOW
    triangles = np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle))
    return (np.maximum(triangles, 0) * 2 / (high - low)).astype(np.float32)


# ---- files --------------------------------------------------------------------------------------


class Vocabulary:
    """tekken.json: token ids to bytes, and the stream's settings."""

    def __init__(self, path: Path) -> None:
        """Read the file; text token id = number of special tokens + rank."""
        tekken = json.loads(Path(path).read_text(encoding="utf-8"))
        special = {entry["token_str"]: entry["rank"] for entry in tekken["special_tokens"]}
        self.bos = special["<s>"]
        self.streaming_pad = special["[STREAMING_PAD]"]
        self.n_special = tekken["config"]["default_num_special_tokens"]
        self.n_left_pad = tekken["audio"]["streaming_n_left_pad_tokens"]
        self.bytes = [base64.b64decode(entry["token_bytes"]) for entry in tekken["vocab"]]

    def text(self, tokens: Array) -> str:
        """Join the bytes of the text tokens, then decode: tokens may split a character."""
        pieces = (self.bytes[t - self.n_special] for t in tokens if t >= self.n_special)
        return b"".join(pieces).decode("utf-8", errors="replace")


def read_safetensors(path: Path) -> dict[str, Array]:
    """All tensors of a BF16 or F32 safetensors file as f32."""
    raw = np.memmap(path, np.uint8, "r")
    start = 8 + int(raw[:8].view("<u8")[0])
    header = json.loads(raw[8:start].tobytes())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        data = raw[start + begin : start + end]
        if entry["dtype"] == "BF16":  # the upper half of an f32
            values = (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] == "F32":
            values = np.array(data.view("<f4"))
        else:
            raise ValueError(f"{path}: {name} has type {entry['dtype']}, not BF16 or F32")
        tensors[name] = values.reshape(entry["shape"])
    return tensors

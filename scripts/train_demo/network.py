"""The model in torch, for training: names and shapes of the official checkpoint's layout.

The architecture is docs/model.md's; here a clip goes through at once, with masks instead of rings.
A layer is two functions of all positions of all clips, one before and one after the attention:
their shape is the same in every step, so that train.py compiles each of them once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from clips import PAD
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Shape(NamedTuple):
    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_dim: int
    window: int
    bias: bool  # of q, v, the output and the last feed-forward product: the encoder's
    delay_norm: bool  # feed-forward norm conditioned on the delay: the decoder's


ENCODER = Shape(256, 8, 4, 4, 64, 1024, 256, bias=True, delay_norm=False)
DECODER = Shape(256, 5, 4, 1, 128, 768, 192, bias=False, delay_norm=True)
N_VOCAB = 4096
ADA_DIM = 32
EPS = 1e-5
ROPE_THETA = 1e6
N_MEL, HOP, FFT = 128, 160, 400
PREFIX = "mm_streams_embeddings.embedding_module."
TWIST_HZ = 1100  # between the first formants and the others
NOT_JUDGED = -100  # a target that has no loss


class Mel(nn.Module):
    """Log-mel frames of padded audio: samples [b, n] -> [b, 128, 8 * n_slots]."""

    def __init__(self) -> None:
        super().__init__()
        bank, centres = self.filters()
        self.register_buffer("bank", torch.tensor(bank, dtype=torch.float32))
        self.register_buffer("centres", torch.tensor(centres, dtype=torch.float32))
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)
        self.register_buffer("window", torch.tensor(hann, dtype=torch.float32))

    @staticmethod
    def filters() -> tuple[np.ndarray, np.ndarray]:
        """Slaney's mel filters, of equal area: [201, 128] and their centres in Hz."""
        step = math.log(6.4) / 27
        highest = 15 + math.log(8) / step
        mels = np.linspace(0, highest, N_MEL + 2)
        edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * step))
        low, centre, high = edges[:-2], edges[1:-1], edges[2:]
        f = (np.arange(FFT // 2 + 1) * 16000 / FFT)[:, None]
        rise, fall = (f - low) / (centre - low), (high - f) / (high - centre)
        return np.maximum(0, np.minimum(rise, fall)) * (2 / (high - low)), centre

    def forward(self, samples: Tensor, n_slots: int) -> Tensor:
        left = 32 * 1280
        right = 1280 * n_slots - left - samples.shape[1]
        padded = F.pad(samples, (left + FFT // 2, right + FFT // 2))
        spectrum = torch.stft(
            padded, FFT, HOP, window=self.window, center=False, return_complex=True
        )[..., : 8 * n_slots]
        power = torch.view_as_real(spectrum).square().sum(-1)
        mel = torch.einsum("bft,fm->bmt", power, self.bank)
        log = torch.clamp(torch.log10(torch.clamp(mel, min=1e-10)), min=1.5 - 8)
        return (log + 4) / 4

    def warped(self, mel: Tensor, factor: Tensor, twist: Tensor) -> Tensor:
        """The frequency axis scaled, per frame: another vocal tract.

        factor, twist [b, frames]: low frequencies by factor, high ones by factor * twist.
        """
        high = torch.sigmoid(torch.log2(self.centres / TWIST_HZ) / 0.35)[None, :, None]
        scale = factor[:, None] * (1 + (twist[:, None] - 1) * high)
        wanted = torch.minimum(self.centres[None, :, None] * scale, self.centres[-1])
        above = torch.searchsorted(self.centres, wanted.contiguous()).clamp(1, N_MEL - 1)
        below, over = self.centres[above - 1], self.centres[above]
        share = ((wanted - below) / (over - below)).clamp(0, 1)
        return mel.gather(1, above - 1) * (1 - share) + mel.gather(1, above) * share


class RmsNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * self.weight


def angles(positions: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    even = torch.arange(0, head_dim, 2, dtype=torch.float64, device=positions.device)
    angle = positions.double()[:, None] * ROPE_THETA ** (-even / head_dim)
    return angle.cos().float(), angle.sin().float()


def rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """x [n, heads, head_dim]; pairs (2j, 2j + 1) turn together."""
    cos, sin = turn[0][:, None], turn[1][:, None]
    x = x.float()
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)


def attend(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """q [b, queries, heads, head_dim], k and v [b, keys, ...]; the queries are the last keys."""
    n_queries, n_keys, n_heads = q.shape[1], k.shape[1], q.shape[2]
    if q.is_cuda and q.dtype == torch.bfloat16:
        out: Tensor = torch.ops.aten._flash_attention_forward(
            q, k, v, None, None, n_queries, n_keys, 0.0, True, False,
            window_size_left=window - 1, window_size_right=0,
        )[0]  # fmt: skip
        return out
    query = torch.arange(n_keys - n_queries, n_keys, device=q.device)[:, None]
    back = query - torch.arange(n_keys, device=q.device)[None]
    group = n_heads // k.shape[2]
    k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    mask = (back >= 0) & (back < window)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.s = s
        self.wq = nn.Linear(s.dim, s.n_heads * s.head_dim, bias=s.bias)
        self.wk = nn.Linear(s.dim, s.n_kv_heads * s.head_dim, bias=False)
        self.wv = nn.Linear(s.dim, s.n_kv_heads * s.head_dim, bias=s.bias)
        self.wo = nn.Linear(s.n_heads * s.head_dim, s.dim, bias=s.bias)


class FeedForward(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.w1 = nn.Linear(s.dim, s.hidden_dim, bias=False)
        self.w2 = nn.Linear(s.hidden_dim, s.dim, bias=s.bias)
        self.w3 = nn.Linear(s.dim, s.hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    def __init__(self, s: Shape, dropout: float) -> None:
        super().__init__()
        self.s, self.dropout = s, dropout
        self.attention_norm, self.ffn_norm = RmsNorm(s.dim), RmsNorm(s.dim)
        self.attention, self.feed_forward = Attention(s), FeedForward(s)
        if s.delay_norm:
            self.ada_rms_norm_t_cond = nn.Sequential(
                nn.Linear(s.dim, ADA_DIM, bias=False),
                nn.GELU(),
                nn.Linear(ADA_DIM, s.dim, bias=False),
            )

    def before(self, h: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """h [n, dim] -> queries, keys and values [n, heads, head_dim]."""
        s, x = self.s, self.attention_norm(h)
        v = self.attention.wv(x).view(-1, s.n_kv_heads, s.head_dim)
        q = rotated(self.attention.wq(x).view(-1, s.n_heads, s.head_dim), turn)
        k = rotated(self.attention.wk(x).view(-1, s.n_kv_heads, s.head_dim), turn)
        return q.to(v.dtype), k.to(v.dtype), v

    def after(self, h: Tensor, mixed: Tensor, delay: Tensor | None) -> Tensor:
        """h [n, dim] and what the attention gave [n, heads * head_dim] -> the next h."""
        h = h + F.dropout(self.attention.wo(mixed), self.dropout, self.training)
        y = self.ffn_norm(h)
        if delay is not None:
            y = y * (1 + self.ada_rms_norm_t_cond(delay).float())
        return h + F.dropout(self.feed_forward(y), self.dropout, self.training)

    def forward(
        self,
        h: Tensor,
        n_clips: int,
        turn: tuple[Tensor, Tensor],
        window: int,
        delay: Tensor | None = None,
        cache: list[Tensor] | None = None,
        at: int = 0,
    ) -> Tensor:
        q, k, v = (x.unflatten(0, (n_clips, -1)) for x in self.before(h, turn))
        if cache is not None:
            end = at + q.shape[1]
            cache[0][:, at:end], cache[1][:, at:end] = k, v
            k, v = cache[0][:, :end].to(q.dtype), cache[1][:, :end].to(q.dtype)
        return self.after(h, attend(q, k, v, window).flatten(2).flatten(0, 1), delay)


class Network(nn.Module):
    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.conv0 = nn.Conv1d(N_MEL, ENCODER.dim, 3)
        self.conv1 = nn.Conv1d(ENCODER.dim, ENCODER.dim, 3, stride=2)
        self.encoder = nn.ModuleList(Layer(ENCODER, dropout) for _ in range(ENCODER.n_layers))
        self.encoder_norm = RmsNorm(ENCODER.dim)
        self.adapter0 = nn.Linear(4 * ENCODER.dim, DECODER.dim, bias=False)
        self.adapter2 = nn.Linear(DECODER.dim, DECODER.dim, bias=False)
        self.embedding = nn.Embedding(N_VOCAB, DECODER.dim)
        self.decoder = nn.ModuleList(Layer(DECODER, dropout / 2) for _ in range(DECODER.n_layers))
        self.norm = RmsNorm(DECODER.dim)
        self._initialise()

    def _initialise(self) -> None:
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = 1 / math.sqrt(p.shape[1])
                if name.endswith(("wo.weight", "w2.weight")):  # what a layer adds to its input
                    layers = ENCODER.n_layers if name.startswith("encoder") else DECODER.n_layers
                    std /= math.sqrt(2 * layers)
                if "ada_rms" in name:
                    std *= 0.3
                nn.init.normal_(p, 0, std)
            elif name.endswith("bias") and "conv" not in name:
                nn.init.zeros_(p)

    def encode(self, mel: Tensor, window: int = ENCODER.window) -> Tensor:
        """[b, 128, 8 n] -> audio embeddings [b * n, dim]."""
        h = F.gelu(self.conv0(F.pad(mel, (2, 0))))
        h = F.gelu(self.conv1(F.pad(h, (1, 0)))).transpose(1, 2).float()
        b, t, _ = h.shape
        h = h.flatten(0, 1)
        turn = angles(torch.arange(t, device=h.device).repeat(b), ENCODER.head_dim)
        for layer in self.encoder:
            h = layer(h, b, turn, window)
        return self.adapted(h)

    def adapted(self, h: Tensor) -> Tensor:
        h = self.encoder_norm(h).view(-1, 4 * ENCODER.dim)
        return self.adapter2(F.gelu(self.adapter0(h)))

    def delay_embedding(self, n_delay: int, device: torch.device) -> Tensor:
        half = DECODER.dim // 2
        i = torch.arange(half, dtype=torch.float64, device=device)
        angle = n_delay * torch.exp(-math.log(1e4) * i / half)
        return torch.cat([angle.cos(), angle.sin()]).float()

    def decode(
        self,
        ids: Tensor,
        audio: Tensor,
        n_delay: int,
        window: int = DECODER.window,
        caches: list[list[Tensor]] | None = None,
        at: int = 0,
    ) -> Tensor:
        """ids [b, t] and audio embeddings [b * t, dim] -> hidden states [b * t, dim]."""
        b, t = ids.shape
        h = self.embedding(ids.flatten()).float() + audio.float()
        positions = torch.arange(at, at + t, device=h.device).repeat(b)
        turn = angles(positions, DECODER.head_dim)
        delay = self.delay_embedding(n_delay, h.device)
        for i, layer in enumerate(self.decoder):
            h = layer(h, b, turn, window, delay, caches[i] if caches else None, at)
        return h

    def logits(self, h: Tensor) -> Tensor:
        return F.linear(self.norm(h), self.embedding.weight)

    def judged(self, h: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss, and the share of markers and text that is the likeliest token."""
        logits = self.logits(h).float()
        loss = F.cross_entropy(logits, targets, ignore_index=NOT_JUDGED)
        said = targets > PAD
        right = (logits.detach().argmax(-1) == targets) & said
        return loss, right.sum() / said.sum().clamp(min=1)

    @torch.no_grad()
    def greedy(self, mel: Tensor, n_delay: int) -> Tensor:
        """The likeliest token of each slot: [b, slots]."""
        b = len(mel)
        audio = self.encode(mel).unflatten(0, (b, -1))
        n = audio.shape[1]
        room = (b, n, DECODER.n_kv_heads, DECODER.head_dim)
        caches = [[torch.zeros(room, device=mel.device) for _ in "kv"] for _ in self.decoder]
        n_prompt = 33 + n_delay
        ids = torch.full((b, n_prompt), 32, device=mel.device)
        ids[:, 0] = 1
        tokens: list[Tensor] = []
        at = 0
        while at < n:
            heard = audio[:, at : at + ids.shape[1]].flatten(0, 1)
            h = self.decode(ids, heard, n_delay, caches=caches, at=at)
            at += ids.shape[1]
            tokens.append(self.logits(h.unflatten(0, (b, -1))[:, -1]).argmax(-1))
            ids = tokens[-1][:, None]
        return torch.stack(tokens, 1)


def official_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's state under the names of the official checkpoint, in BF16."""
    whisper = PREFIX + "whisper_encoder."
    prefixes = {
        "conv0.": whisper + "conv_layers.0.conv.",
        "conv1.": whisper + "conv_layers.1.conv.",
        "encoder.": whisper + "transformer.layers.",
        "encoder_norm.": whisper + "transformer.norm.",
        "adapter0.": PREFIX + "audio_language_projection.0.",
        "adapter2.": PREFIX + "audio_language_projection.2.",
        "embedding.": PREFIX + "tok_embeddings.",
        "decoder.": "layers.",
        "norm.": "norm.",
    }
    named = {}
    for name, value in state.items():
        start = next(p for p in prefixes if name.startswith(p))
        named[prefixes[start] + name[len(start) :]] = value.detach().to(torch.bfloat16).cpu()
    return named

"""The table of tensors: each one's names, shape and storage rule. The single source of truth.

Row holds what the layers of a stack share; tensors() writes the table out for the sizes of one
checkpoint. Shapes are torch's, [out, in]; GGUF lists the same numbers in reverse. Rotary rows are
in the official order here, where elements 2j and 2j+1 of a head turn together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from .params import DOWNSAMPLE, Params, Stack

Layout = Literal["official", "transformers"]
N_MEL, CONV_TAPS = 128, 3

# Vectors and what is small and delicate stay F32; matrices are stored as the chosen type says.
Store = Literal["f32", "packed"]


class Row(NamedTuple):
    """One kind of tensor; shape names sizes. Rows called q or k are those of rotated heads."""

    name: str
    official: str
    transformers: str
    shape: str
    store: Store = "f32"
    kept: tuple[int, int] | None = None  # first row and the one after the last; None: all of them


class Prefix(NamedTuple):
    """What stands before the names of a group of rows."""

    name: str
    official: str
    transformers: str


Group = tuple[Prefix, tuple[Row, ...]]

ADAPTER = "mm_streams_embeddings.embedding_module."
WHISPER = ADAPTER + "whisper_encoder."
LANGUAGE = "language_model.model."
TURNS = "vad_lm_head.weight"  # in both layouts

# fmt: off
CONV = Prefix("enc.", WHISPER, "audio_tower.embedder."), (
    Row("conv1.weight", "conv_layers.0.conv.weight", "conv1.weight", "enc mel taps"),
    Row("conv1.bias", "conv_layers.0.conv.bias", "conv1.bias", "enc"),
    Row("conv2.weight", "conv_layers.1.conv.weight", "conv2.weight", "enc enc taps"),
    Row("conv2.bias", "conv_layers.1.conv.bias", "conv2.bias", "enc"),
)
ENCODER_LAYER = Prefix("enc.blk.", WHISPER + "transformer.layers.", "audio_tower.layers."), (
    Row("attn_norm.weight", "attention_norm.weight", "self_attn_layer_norm.weight", "dim"),
    Row("attn_q.weight", "attention.wq.weight", "self_attn.q_proj.weight", "q dim", "packed"),
    Row("attn_q.bias", "attention.wq.bias", "self_attn.q_proj.bias", "q"),
    Row("attn_k.weight", "attention.wk.weight", "self_attn.k_proj.weight", "k dim", "packed"),
    Row("attn_v.weight", "attention.wv.weight", "self_attn.v_proj.weight", "v dim", "packed"),
    Row("attn_v.bias", "attention.wv.bias", "self_attn.v_proj.bias", "v"),
    Row("attn_out.weight", "attention.wo.weight", "self_attn.o_proj.weight", "dim q", "packed"),
    Row("attn_out.bias", "attention.wo.bias", "self_attn.o_proj.bias", "dim"),
    Row("ffn_norm.weight", "ffn_norm.weight", "final_layer_norm.weight", "dim"),
    Row("ffn_gate.weight", "feed_forward.w1.weight", "mlp.gate_proj.weight", "ffn dim", "packed"),
    Row("ffn_up.weight", "feed_forward.w3.weight", "mlp.up_proj.weight", "ffn dim", "packed"),
    Row("ffn_down.weight", "feed_forward.w2.weight", "mlp.down_proj.weight", "dim ffn", "packed"),
    Row("ffn_down.bias", "feed_forward.w2.bias", "mlp.down_proj.bias", "dim"),
)
ENCODER_NORM = Prefix("enc.", WHISPER, "audio_tower."), (
    Row("norm.weight", "transformer.norm.weight", "norm.weight", "enc"),
)
PROJECTION = (
    Prefix("adapter.", ADAPTER + "audio_language_projection.", "multi_modal_projector."), (
        Row("1.weight", "0.weight", "linear_1.weight", "dec stacked", "packed"),
        Row("2.weight", "2.weight", "linear_2.weight", "dec dec", "packed"),
    )
)
EMBEDDING = Prefix("dec.", ADAPTER, LANGUAGE), (
    Row("embed.weight", "tok_embeddings.weight", "embed_tokens.weight", "vocab dec", "packed"),
)
DECODER_LAYER = Prefix("dec.blk.", "layers.", LANGUAGE + "layers."), (
    Row("attn_norm.weight", "attention_norm.weight", "input_layernorm.weight", "dim"),
    Row("attn_q.weight", "attention.wq.weight", "self_attn.q_proj.weight", "q dim", "packed"),
    Row("attn_k.weight", "attention.wk.weight", "self_attn.k_proj.weight", "k dim", "packed"),
    Row("attn_v.weight", "attention.wv.weight", "self_attn.v_proj.weight", "v dim", "packed"),
    Row("attn_out.weight", "attention.wo.weight", "self_attn.o_proj.weight", "dim q", "packed"),
    Row("ffn_norm.weight", "ffn_norm.weight", "post_attention_layernorm.weight", "dim"),
    Row("ffn_gate.weight", "feed_forward.w1.weight", "mlp.gate_proj.weight", "ffn dim", "packed"),
    Row("ffn_up.weight", "feed_forward.w3.weight", "mlp.up_proj.weight", "ffn dim", "packed"),
    Row("ffn_down.weight", "feed_forward.w2.weight", "mlp.down_proj.weight", "dim ffn", "packed"),
    Row("ada_down.weight", "ada_rms_norm_t_cond.0.weight", "ada_rms_norm.linear1.weight",
        "ada dim"),
    Row("ada_up.weight", "ada_rms_norm_t_cond.2.weight", "ada_rms_norm.linear2.weight", "dim ada"),
)
DECODER_NORM = Prefix("dec.", "", LANGUAGE), (
    Row("norm.weight", "norm.weight", "norm.weight", "dec"),
)
# As large as the embedding, but only the rows of the states of a turn mean anything.
TURN_HEAD = Prefix("dec.", "", ""), (
    Row("turn.weight", TURNS, TURNS, "vocab dec", kept=(35, 41)),
)
# fmt: on
WRAPPED = "base_model."  # before the names of a model of transformers that has a second head
TIED = "lm_head.weight"  # of transformers: the embedding once more, where it was saved


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint.

    shape is the source's; a layer's tensor knows its layer, others have layer -1. head_dim is 0
    unless the rows belong to heads that are rotated. kept: the bounds of the rows that go into the
    file.
    """

    name: str
    sources: dict[Layout, str]
    shape: tuple[int, ...]
    is_packed: bool
    head_dim: int
    layer: int
    n_layers: int
    kept: tuple[int, int]

    @property
    def is_conv(self) -> bool:
        """Whether this is [out, in, taps], stored as [out, taps * in] with the channel fastest."""
        return len(self.shape) == 3

    def stored_row(self, row: int) -> int:
        """Return the place in the file of a row, or of the first one after it that is kept."""
        first, end = self.kept
        return min(max(row, first), end) - first

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in the file, torch order."""
        if self.is_conv:
            return (self.shape[0], self.shape[1] * self.shape[2])
        return (self.kept[1] - self.kept[0], *self.shape[1:])


def tensors(params: Params, *, has_turns: bool = False) -> list[Tensor]:
    """Return every tensor of a model, in the order of the file.

    has_turns: it has a second head, for the states of a turn.
    """
    sizes = {
        "enc": params.encoder.dim,
        "dec": params.decoder.dim,
        "stacked": DOWNSAMPLE * params.encoder.dim,
        "vocab": params.n_vocab,
        "mel": N_MEL,
        "taps": CONV_TAPS,
    }
    return [
        *_group(CONV, sizes),
        *_layers(ENCODER_LAYER, params.encoder, params.ada_dim),
        *_group(ENCODER_NORM, sizes),
        *_group(PROJECTION, sizes),
        *_group(EMBEDDING, sizes),
        *_layers(DECODER_LAYER, params.decoder, params.ada_dim),
        *_group(DECODER_NORM, sizes),
        *(_group(TURN_HEAD, sizes) if has_turns else ()),
    ]


def _layers(group: Group, stack: Stack, ada_dim: int) -> list[Tensor]:
    sizes = {
        "dim": stack.dim,
        "q": stack.n_heads * stack.head_dim,
        "k": stack.n_kv_heads * stack.head_dim,
        "v": stack.n_kv_heads * stack.head_dim,
        "ffn": stack.hidden_dim,
        "ada": ada_dim,
    }
    (name, official, transformers), rows = group
    return [
        tensor
        for i in range(stack.n_layers)
        for tensor in _group(
            (Prefix(f"{name}{i}.", f"{official}{i}.", f"{transformers}{i}."), rows),
            sizes, stack.head_dim, i, stack.n_layers,
        )
    ]  # fmt: skip


def _group(
    group: Group, sizes: dict[str, int], head_dim: int = 0, layer: int = -1, n_layers: int = 0
) -> list[Tensor]:
    prefix, rows = group
    return [
        Tensor(
            name=prefix.name + row.name,
            sources={
                "official": prefix.official + row.official,
                "transformers": prefix.transformers + row.transformers,
            },
            shape=tuple(sizes[size] for size in row.shape.split()),
            is_packed=row.store == "packed",
            head_dim=head_dim if row.shape.split()[0] in ("q", "k") else 0,
            layer=layer,
            n_layers=n_layers,
            kept=row.kept or (0, sizes[row.shape.split()[0]]),
        )
        for row in rows
    ]

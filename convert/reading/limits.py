"""What the numbers of a model may be: the limits of csrc/model.c, which a test compares with these.

A checkpoint is held against them as it is read, so that no file is written that cannot be opened.
"""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """The least and the greatest that a whole number may be."""

    low: int
    high: int


STACK = {
    "n_layers": Limit(1, 1024),
    "dim": Limit(1, 1 << 16),
    "n_heads": Limit(1, 1024),
    "head_dim": Limit(2, 1024),
    "hidden_dim": Limit(1, 1 << 18),
    "window": Limit(1, 1 << 20),
}
N_KV_HEADS = Limit(1, 1024)
ADA_DIM = Limit(1, 4096)
N_VOCAB = Limit(1, 1 << 24)
N_LEFT_PAD = N_RIGHT_PAD_EXTRA = Limit(1, 1024)
DEFAULT_DELAY_MS = Limit(80, 2400)
TOKENIZER_BYTES = (1 << 32) - 1  # offsets of tokens have 32 bits


def token(n_vocab: int) -> Limit:
    """Return what an id may be, and the number of those that carry no text."""
    return Limit(0, n_vocab - 1)

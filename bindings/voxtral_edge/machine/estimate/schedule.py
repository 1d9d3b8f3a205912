"""How long a clip takes, from how long passes take: a pure function of measured times and shares.

The core takes slots through the encoder as they come, at most 16 at once, and through the decoder
by passes over the token said last and guesses of what follows it. A pass over w positions brings as
many slots as its guesses are right, and one; the rest is done again. How wide a pass is, is chosen
as csrc/draft.c chooses: what is left over must be cheap as well. So the time that n waiting slots
are expected to take is

    time(n) = decoder(w) + sum over k of P(k slots come out of w) * time(n - k)

and that of a clip the sum over what arrives together: all of it for a file, a chunk live.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...text.pieces import SLOT_MS

WIDEST = 16  # csrc/model.h: slots in a pass
N_END = 11  # slots after the audio, and the delay's: docs/model.md
HINT_VALUE = 0.08  # csrc/draft.c: what a position is worth that heard a wrong guess

Chances = Sequence[float]
# Chances that the first i guesses of a pass are right, i from 0 on. Measured in the core with the
# demo model, q4_0, at forced widths, as differences of the slots per pass in docs/performance.md.
DIGITS = (1, 0.82, 0.72, 0.62, 0.60, 0.60, 0.55, *9 * [0.55])
SAMPLES = (1, 0.79, 0.68, 0.60, 0.58, 0.58, 0.58, 0.55, *8 * [0.50])
SENTENCES = (1, 0.62, 0.57, 0.52, 0.49, 0.45, 0.45, 0.45, *4 * [0.37], *4 * [0.30])


@dataclass(frozen=True)
class Costs:
    """Ms of a pass by its width in slots; of mel, for one slot; of the head, in a decoder pass.

    What lies between measured widths is on the line between them.
    """

    mel: float
    encoder: dict[int, float]
    decoder: dict[int, float]  # over positions of which none speaks, so without the head
    head: dict[int, float]


def rtf(
    costs: Costs, chances: Chances, audio_ms: int, delay_ms: int, chunk_ms: int | None
) -> float:
    """Return the time that a clip is expected to take, over its length.

    chunk_ms: audio that arrives together, a multiple of 80; None: all of it. The silence before the
    first sample is not counted: the first stream of a model has done that for all.
    """
    n_audio, n_delay = audio_ms // SLOT_MS, delay_ms // SLOT_MS
    chunk = n_audio if chunk_ms is None else chunk_ms // SLOT_MS
    arrivals = [min(chunk, n_audio - i) for i in range(0, n_audio, chunk)]
    if chunk_ms is None:
        arrivals = [n_audio + n_delay + N_END]
    else:
        arrivals.append(n_delay + N_END)
    speaking = speaking_ms(costs, chances, max(arrivals))
    encoder, decoder = _line(costs.encoder), _line(costs.decoder)
    ms, silent = costs.mel * sum(arrivals), n_delay + 1
    for n in arrivals:
        ms += n // WIDEST * encoder(WIDEST) + (encoder(n % WIDEST) if n % WIDEST else 0.0)
        while silent and n:  # the prompt's positions that hear audio
            w = min(silent, n, WIDEST)
            ms, silent, n = ms + decoder(w), silent - w, n - w
        ms += speaking[n]
    return ms / audio_ms


def speaking_ms(costs: Costs, chances: Chances, most: int) -> list[float]:
    """Return what 0 to `most` waiting slots are expected to take in decoder and head."""
    decoder, head = _line(costs.decoder), _line(costs.head)
    ms = [0.0] + [decoder(w) + head(w) for w in range(1, WIDEST + 1)]
    # What the core plans with: a wide pass leaves hints for the next one.
    felt = [0.0] + [ms[w] - HINT_VALUE * (w - 1) * ms[1] for w in range(1, WIDEST + 1)]
    planned, taken, width = [0.0], [0.0], 0
    for n in range(1, most + 1):
        if n <= WIDEST:
            width = min(
                range(1, n + 1), key=lambda w: felt[w] + _left(chances, w, planned, len(planned))
            )
            planned.append(felt[width] + _left(chances, width, planned, n))
        taken.append(ms[width] + _left(chances, width, taken, n))
    return taken


def _left(chances: Chances, width: int, times: list[float], n: int) -> float:
    """The expected time of the slots, of n, that a pass leaves over."""
    survive = [*chances[:width], 0.0]
    return sum((a - b) * times[n - k] for k, (a, b) in enumerate(pairwise(survive), 1))


def _line(points: dict[int, float]) -> Callable[[int], float]:
    """Return the function of width whose values at some widths are given."""
    widths = sorted(points)

    def at(width: int) -> float:
        i = min(max(bisect.bisect_left(widths, width), 1), len(widths) - 1)
        a, b = widths[i - 1], widths[i]
        return points[a] + (points[b] - points[a]) * (width - a) / (b - a)

    return at

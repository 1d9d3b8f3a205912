"""Compares probes under the limits of tolerances.json, and finds clips on which that is fair.

Each entry there states the largest (and for logits the mean) absolute difference allowed, what was
measured when the limit was set, and why the difference is not zero. A limit is never raised to let
a failing test pass: the difference is explained first.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import tiny_model
from reference import Reference

TOLERANCES = json.loads(Path(__file__).with_name("tolerances.json").read_text(encoding="utf-8"))
TIE = 2e-3  # ten times the mean difference allowed for logits
ROWS_PER_SLOT = {"mel": 8, "conv": 4, "enc.out": 4, "enc.blk": 4}


def clear_clip(reference: Reference, n: int, delay_ms: int) -> tuple[np.ndarray, dict]:
    """The first clip of n samples without a near tie, and the reference's probes.

    In a tie the last bits choose the token, and every later token depends on that choice.
    """
    for seed in itertools.count():
        samples = tiny_model.make_audio(n, seed)
        probes = reference.run(samples, delay_ms)
        if margin(probes["dec.logits"]) > TIE:
            return samples, probes


def margin(logits: np.ndarray) -> float:
    """The smallest distance between the first and the second choice; logits [T, n_vocab]."""
    top = np.partition(logits, -2, axis=1)[:, -2:]
    return float((top[:, 1] - top[:, 0]).min())


def kind(name: str) -> str:
    """Block probes share one limit: "enc.blk.2" is of kind "enc.blk"."""
    return name.rsplit(".", 1)[0] if ".blk." in name else name


def compare(section: str, actual: dict, expected: dict) -> dict[str, tuple[float, float]]:
    """Hold every probe of expected against its limit; the (max, mean) differences by name.

    Both start at the first row; one may be a slot longer, as nothing depends on the last slot.
    """
    limits, measured, faults = TOLERANCES[section], {}, []
    for name in (n for n in expected if kind(n) in limits):
        a, b = actual[name], expected[name]
        n = min(len(a), len(b))
        assert n and max(len(a), len(b)) - n <= ROWS_PER_SLOT.get(kind(name), 1), (
            f"{name}: {len(a)} rows, not {len(b)}"
        )
        difference = np.abs(a[:n].astype(np.float64) - b[:n])
        assert np.isfinite(difference).all(), f"{name}: not finite"
        largest, mean = float(difference.max()), float(difference.mean())
        measured[name] = (largest, mean)
        limit = limits[kind(name)]
        if largest > limit["max"]:
            place = np.argwhere(difference > limit["max"])[0].tolist()
            faults.append(f"{name}: max {largest:.2e} > {limit['max']:.0e}, first at {place}")
        if mean > limit.get("mean", np.inf):
            faults.append(f"{name}: mean {mean:.2e} > {limit['mean']:.0e}")
    assert measured, f"nothing to compare under {section}"
    assert not faults, "\n".join(faults)
    return measured

"""The estimate of the 4B model's speed: a schedule against a simulated one, and what is scaled.

Measured numbers are put in; nothing here depends on how long anything takes.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import voxtral_edge as vox
from voxtral_edge.convert.reading.params import Params
from voxtral_edge.convert.reading.tensors import tensors
from voxtral_edge.convert.writing.quantize import file_type, stored_type
from voxtral_edge.machine import estimate
from voxtral_edge.machine.estimate import passes, schedule, weights
from voxtral_edge.machine.estimate.passes import Passes
from voxtral_edge.machine.estimate.schedule import Costs

NEVER, ALWAYS = (1, *15 * [0.0]), 16 * [1.0]
NOTHING = {1: 0.0, 16: 0.0}
WIDTHS = (1, 2, 4, 6, 16)
ROWS = {w: 0.004 + 0.002 * (w - 1) for w in WIDTHS}  # ms of a row in the decoder's window


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Params:
    """Sizes in the place of the published ones, and one short round, for the sake of time."""
    encoder = dataclasses.replace(weights.PUBLISHED.encoder, dim=256, hidden_dim=512, n_heads=4,
                                  n_kv_heads=4)  # fmt: skip
    decoder = dataclasses.replace(weights.PUBLISHED.decoder, dim=256, hidden_dim=512, n_heads=4,
                                  n_kv_heads=2)  # fmt: skip
    params = dataclasses.replace(weights.PUBLISHED, encoder=encoder, decoder=decoder)
    monkeypatch.setattr(weights, "PUBLISHED", params)
    monkeypatch.setattr(passes, "N_QUIET", 1)
    monkeypatch.setattr(passes, "QUIET", 2.0)  # no share is too large
    monkeypatch.setattr(estimate, "N_LEFT_PAD", 4)
    monkeypatch.setattr(estimate, "N_RING_PADS", (4, 40))
    return params


# ---- the schedule -------------------------------------------------------------------------------


def test_a_minute_by_hand() -> None:
    """With no guess right, each slot is a pass; with all right, sixteen are; and so on, by hand."""
    decoder = Costs(0.0, NOTHING, {1: 10.0, 16: 10.0}, {1: 2.0, 16: 2.0})
    # 750 slots and 10 speak; the other 7 of a delay of 480 ms are one pass, without a head.
    assert schedule.rtf(decoder, NEVER, 60_000, 480, None) == pytest.approx((760 * 12 + 10) / 6e4)
    assert schedule.rtf(decoder, ALWAYS, 60_000, 480, None) == pytest.approx((48 * 12 + 10) / 6e4)
    # Live, the 7 come by ones; by sixes, the second chunk has one of them and 5 that speak.
    assert schedule.rtf(decoder, ALWAYS, 60_000, 480, 80) == pytest.approx(
        ((750 - 7 + 2) * 12 + 7 * 10) / 6e4
    )
    assert schedule.rtf(decoder, ALWAYS, 60_000, 480, 480) == pytest.approx(
        ((124 + 2) * 12 + 2 * 10) / 6e4
    )
    encoder = Costs(0.0, {1: 1.0, 6: 6.0, 16: 16.0}, NOTHING, NOTHING)
    for chunk_ms in (None, 80, 480):
        assert schedule.rtf(encoder, NEVER, 60_000, 480, chunk_ms) == pytest.approx(767 / 6e4)
    flat = Costs(0.0, {1: 5.0, 16: 5.0}, NOTHING, NOTHING)
    for chunk_ms, n in ((None, 48), (480, 125 + 2), (80, 750 + 2)):
        assert schedule.rtf(flat, NEVER, 60_000, 480, chunk_ms) == pytest.approx(5 * n / 6e4)
    mel = Costs(0.5, NOTHING, NOTHING, NOTHING)
    assert schedule.rtf(mel, NEVER, 60_000, 480, 480) == pytest.approx(767 * 0.5 / 6e4)


@pytest.mark.parametrize("n", [1, 6, 16, 40, 767])
def test_a_simulated_schedule(n: int) -> None:
    """Where further positions cost nothing all are taken; guesses are drawn by their chances."""
    random = np.random.default_rng(n)
    costs = Costs(0.0, NOTHING, {1: 3.0, 16: 3.0}, {1: 1.0, 16: 1.0})
    total, runs = 0, 4000 if n < 100 else 400
    for _ in range(runs):
        left = n
        while left:
            width, came, lucky = min(left, 16), 1, random.random()
            while came < width and schedule.SAMPLES[came] > lucky:
                came += 1
            left -= came
            total += 4
    expected = schedule.speaking_ms(costs, schedule.SAMPLES, n)[n]
    assert expected == pytest.approx(total / runs, rel=0.02)


def test_passes_are_as_wide_as_pays() -> None:
    """A position that costs as much as the first is not worth a guess; a cheap one is."""
    dear = {w: 10.0 * w for w in range(1, 17)}
    cheap = {w: 10.0 + 0.5 * (w - 1) for w in range(1, 17)}
    one_by_one, guessed = (
        schedule.speaking_ms(Costs(0.0, NOTHING, cost, NOTHING), schedule.SAMPLES, 32)
        for cost in (dear, cheap)
    )
    assert one_by_one == pytest.approx([10.0 * n for n in range(33)])
    assert guessed[1] == 10.0
    assert guessed[6] < 3 * 10.0 and guessed[32] < 12 * 10.0
    assert all(a < b for a, b in itertools.pairwise(guessed[:17]))


def test_chances() -> None:
    """As many slots per pass as docs/performance.md has, and never more for one guess more."""
    for chances, by_6, by_16 in (
        (schedule.DIGITS, 4.36, 9.95), (schedule.SAMPLES, 4.24, 9.49),
        (schedule.SENTENCES, 3.64, 7.22),
    ):  # fmt: skip
        assert len(chances) == 16 and chances[0] == 1
        assert all(a >= b for a, b in itertools.pairwise(chances))
        assert sum(chances[:6]) == pytest.approx(by_6, rel=0.02)
        assert sum(chances) == pytest.approx(by_16, rel=0.02)


# ---- scaling ------------------------------------------------------------------------------------


def test_sizes_are_those_of_the_published_model() -> None:
    """params.json: 4,429.7 M parameters; a file of q4_0 is 2.5 GB, of q4_k_m 2.8."""
    published = weights.PUBLISHED
    assert weights.weight_bytes(published, "f32") // 4 == pytest.approx(4_429.7e6, rel=1e-4)
    assert weights.weight_bytes(published, "q4_0") == pytest.approx(2.53e9, rel=0.01)
    assert weights.weight_bytes(published) == pytest.approx(2.84e9, rel=0.01)
    assert weights.stream_bytes(published) == 2 * 2 * (32 * 750 * 32 * 64 + 26 * 8192 * 8 * 128)


def times(n_encoder: int, n_decoder: int, slowly: float = 1.0) -> Passes:
    """What passes take if every layer costs the same, in a round and in one so much slower."""
    encoder = {w: (n_encoder + 1.5) * (1.0 + 0.7 * (w - 1)) for w in WIDTHS}
    decoder = {w: n_decoder * (1.7 + 0.3 * (w - 1)) for w in WIDTHS}
    spread = ({w: [ms, slowly * ms] for w, ms in each.items()} for each in (encoder, decoder))
    return Passes([0.1], *spread)


def test_costs() -> None:
    """Layers by their number, what is not layers once, and the head as large as some layers."""
    costs = estimate.costs(times(*estimate.N_FEW), times(*estimate.N_FEWEST), 50)
    assert costs.mel == 0.1
    whole = times(32, 26)
    for width in WIDTHS:
        assert costs.encoder[width] == pytest.approx(whole.encoder[width][0])
        assert costs.decoder[width] == pytest.approx(whole.decoder[width][0])
        # 6.625 bits each, where half of the layers have those in attn_v and ffn_down, 4.625 else.
        layer_bits = 116.4e6 * 4.625 + (9216 + 1024) * 3072 * (6.625 - 4.625) / 2
        head_layers = 131072 * 3072 * 6.625 / layer_bits
        layer = whole.decoder[width][0] / 26
        assert costs.head[width] == pytest.approx(layer * head_layers, rel=0.02)


def test_ranges() -> None:
    """Spread makes a range wider; where other programs ran, the shortest passes are expected."""
    steady, spread = (
        estimate.rtfs(times(8, 4, slowly), times(2, 1, slowly), ROWS) for slowly in (1.0, 1.5)
    )
    disturbed = estimate.rtfs(
        dataclasses.replace(times(8, 4, 1.5), is_quiet=False), times(2, 1, 1.5), ROWS
    )
    for run in estimate.RUNS:
        for found in (steady, spread, disturbed):
            assert found[run]["least"] < found[run]["expected"] < found[run]["greatest"]
        assert spread[run]["least"] == steady[run]["least"] == disturbed[run]["least"]
        assert spread[run]["greatest"] > steady[run]["greatest"]
        assert spread[run]["expected"] > disturbed[run]["expected"] == steady[run]["expected"]
    assert steady["offline"]["expected"] < steady["live_480_ms"]["expected"]
    assert steady["live_480_ms"]["expected"] < steady["live_80_ms"]["expected"]
    assert steady["live_480_ms"]["expected"] < steady["live_480_ms_window_full"]["expected"]


def test_a_full_window() -> None:
    """Every row costs the same; what is noise and would make rows cost less costs nothing."""
    few = Passes(decoder={1: [3.0, 9.0], 6: [5.0, 5.5], 16: [9.0]})
    many = Passes(decoder={1: [6.0, 7.0], 6: [15.0, 99.0], 16: [8.0]})
    rows = estimate.row_ms(few, many)
    assert rows == {1: 3.0 / 992, 6: 10.0 / 992, 16: 0.0}
    young = Costs(0.1, {1: 1.0, 6: 2.0}, {1: 50.0, 6: 70.0, 16: 170.0}, {1: 5.0, 6: 6.0})
    old = estimate.with_full_window(young, rows)
    assert old.decoder == pytest.approx(
        {1: 50 + 7792 * 3 / 992, 6: 70 + 7792 * 10 / 992, 16: 170.0}
    )
    assert (old.mel, old.encoder, old.head) == (young.mel, young.encoder, young.head)


# ---- measuring ----------------------------------------------------------------------------------


def rounds(*shares: float) -> list[Passes]:
    return [
        Passes([share], {1: [share]}, {1: [share]}, share, is_quiet=share < passes.QUIET)
        for share in shares
    ]


def test_quiet_rounds_are_chosen() -> None:
    n = passes.N_QUIET // 2
    found = passes.chosen(rounds(0.9, *n * [0.01], 0.5))
    assert found.is_quiet and found.encoder == found.decoder == {1: n * [0.01]}
    assert found.others == pytest.approx(0.01)
    found = passes.chosen(rounds(0.9, *(n - 1) * [0.0], 0.5))
    assert not found.is_quiet and len(found.encoder[1]) == n + 1 and max(found.mel) == 0.9
    assert found.others == pytest.approx(1.4 / (n + 1))


def test_a_round_waits_for_quiet(small: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds are repeated until others are gone, or patience is; an unknown share is none."""
    few, one, rings = [0.5, 0.9, 0.2, 0.0], [0.0], [0.0, 0.3, 0.0]
    shares = iter([*few, *one, *rings])
    monkeypatch.setattr(passes, "QUIET", 0.1)
    monkeypatch.setattr(passes.Others, "share", lambda self: next(shares))
    result = estimate.estimate(threads=1)
    assert result["is_quiet"] and result["others_share"] == 0.0
    assert list(shares) == []
    monkeypatch.setattr(estimate, "PATIENCE_S", 1e-3)
    monkeypatch.setattr(passes.Others, "share", lambda self: 0.5)
    result = estimate.estimate(threads=1)
    assert not result["is_quiet"] and result["others_share"] == 0.5
    monkeypatch.setattr(passes.Others, "share", lambda self: None)
    result = estimate.estimate(threads=1)
    assert result["is_quiet"] and result["others_share"] is None


def test_passes_have_the_width_that_was_pushed(small: Params, tmp_path: Path) -> None:
    """The time of a pass is that of this many slots: none speaks, and none waits for the next."""
    weights.write(tmp_path / "random.gguf", weights.layers(1, 1), 4)
    with vox.Model(tmp_path / "random.gguf", threads=1) as model:
        assert (model.encoder_window, model.decoder_window) == (750, 8192)
        found = passes.measure(model, end=0.0)
        with model.stream(delay_ms=2400) as stream:
            for widths in passes.WIDTHS:
                stream.reset()
                stream.push(np.zeros(passes.LOOK_AHEAD, np.float32))
                for n, width in enumerate(widths, 1):
                    assert list(stream.slots()) == []
                    stats = stream.stats()
                    assert stats.n_prefill_passes == stats.n_encoder_passes == n
                    stream.push(np.zeros(width * 1280, np.float32))
                assert list(stream.slots()) == []
                stats = stream.stats()
                assert stats.n_prefill_slots == stats.n_encoder_slots == 1 + sum(widths)
                assert stats.n_decoder_passes == stats.n_accepted == 0
    assert sorted(found.encoder) == sorted({w for widths in passes.WIDTHS for w in widths})
    assert found.encoder.keys() == found.decoder.keys()
    assert min(map(min, found.decoder.values())) > 0


def test_sizes_of_what_is_measured() -> None:
    """Matrices as wide as the published ones in one, and all keys and values in the other."""
    few, rings = weights.layers(*estimate.N_FEW), weights.only_rings()
    published = weights.PUBLISHED
    assert dataclasses.replace(few.decoder, n_layers=26) == published.decoder
    assert dataclasses.replace(few.encoder, n_layers=32) == published.encoder
    for name in ("n_layers", "n_heads", "n_kv_heads", "head_dim", "window"):
        assert getattr(rings.decoder, name) == getattr(published.decoder, name)
    here = weights.weight_bytes(few, belongs=lambda t: t.name != "dec.embed.weight")
    assert here == pytest.approx(0.473e9, rel=0.01) and weights.weight_bytes(rings) < 0.2e9


@pytest.mark.parametrize("stack", ["enc", "dec"])
def test_layers_of_finer_types(stack: str) -> None:
    """Half, in the published model and in what is scaled to it: what few and fewest differ by."""

    def n_finer(params: Params) -> int:
        found = {t.name: stored_type(t, file_type(weights.TYPE)).name for t in tensors(params)}
        assert set(found.values()) == {"F32", "Q4_K", "Q6_K"}
        return sum(found.get(f"{stack}.blk.{i}.ffn_down.weight") == "Q6_K" for i in range(32))

    few, fewest = (weights.layers(*n) for n in (estimate.N_FEW, estimate.N_FEWEST))
    if stack == "enc":
        assert n_finer(weights.PUBLISHED) == 32 // 2
        assert n_finer(few) - n_finer(fewest) == (8 - 2) // 2
    else:
        assert n_finer(weights.PUBLISHED) == 26 // 2
    assert n_finer(few) == estimate.N_FEW[stack == "dec"] // 2


def test_nothing_stays_behind(
    small: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate.tempfile, "tempdir", str(tmp_path))
    result = estimate.estimate(threads=1)
    assert result["threads"] == 1 and result["rtf"]["offline"]["expected"] > 0
    assert list(tmp_path.iterdir()) == []

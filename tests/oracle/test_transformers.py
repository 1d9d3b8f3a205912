"""transformers against tests/reference.py and the core, beyond the committed fixtures.

Random checkpoints in both layouts, several seeds, delays and lengths; then the demo model on real
speech. Run by make oracle: torch and transformers must be installed beside the package.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import speech
import tiny_model
from core import core_run
from reference import Reference
from tolerances import clear_clip, compare
from voxtral_edge.convert import convert

pytest.importorskip("torch", reason="needs torch and transformers (make oracle)")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # they warn about themselves
    from oracle.transformers_run import DEMO, TransformersModel, demo_model

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

DELAYS_MS = (80, 240, 480, 960, 2400)
PROBES = ("mel", "conv", "audio", "dec.logits")


class Trio:
    """One random checkpoint, three implementations."""

    def __init__(self, directory: Path, preset: str, seed: int) -> None:
        official = tiny_model.write_official(directory / "official", seed, preset)
        shards = tiny_model.write_transformers(directory / "transformers", seed, preset, n_shards=2)
        self.gguf = directory / "official.gguf"
        self.gguf_from_shards = directory / "transformers.gguf"
        convert(official, self.gguf, type="f32")
        convert(shards, self.gguf_from_shards, type="f32")
        self.reference = Reference(official)
        self.transformers = TransformersModel(shards)


@pytest.fixture(scope="module", params=[("micro", 10), ("micro", 11), ("kquant", 12)], ids=str)
def trio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trio:
    return Trio(tmp_path_factory.mktemp("trio"), *request.param)


def check_all(trio: Trio, n: int, delay_ms: int) -> None:
    samples, probes = clear_clip(trio.reference, n, delay_ms)
    actual = {"reference": probes, "core": core_run(trio.gguf, samples, delay_ms)}
    expected = trio.transformers.run(samples, delay_ms)
    for name, probes in actual.items():
        assert probes["tokens"].tolist() == expected["tokens"].tolist(), name
        compare(f"{name}_transformers", probes, {probe: expected[probe] for probe in PROBES})
        # The teacher-forced pass above has no caches; generate() has.
        compare(f"{name}_transformers", probes, {"dec.logits": expected["generate.logits"]})


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_delays(trio: Trio, delay_ms: int) -> None:
    check_all(trio, 96_000, delay_ms)


@pytest.mark.parametrize("n", [1, 39, 40, 1279, 1280, 1281])
def test_lengths(trio: Trio, n: int) -> None:
    check_all(trio, n, 480)


def test_a_clip_of_many_windows(trio: Trio) -> None:
    check_all(trio, 480_000, 480)


def test_both_layouts_convert_to_the_same_model(trio: Trio) -> None:
    samples = tiny_model.make_audio(50_000, seed=4)
    one, other = core_run(trio.gguf, samples), core_run(trio.gguf_from_shards, samples)
    for name, rows in one.items():
        assert np.array_equal(rows, other[name]), name


@pytest.mark.parametrize(("preset", "delay_ms"), [("micro", 480), ("micro", 80), ("kquant", 960)])
def test_states_of_a_turn(preset: str, delay_ms: int, tmp_path: Path) -> None:
    """A second head, in both of its layouts."""
    official = tiny_model.write_official(tmp_path / "official", 13, preset, has_turns=True)
    wrapped = tiny_model.write_transformers(tmp_path / "wrapped", 13, preset, has_turns=True)
    samples, probes = clear_clip(Reference(official), 96_000, delay_ms)
    expected = TransformersModel(wrapped).run(samples, delay_ms)
    compare("reference_transformers", probes, {"turns": expected["turns"]})
    for folder in (official, wrapped):
        convert(folder, tmp_path / f"{folder.name}.gguf", type="f32")
        actual = core_run(tmp_path / f"{folder.name}.gguf", samples, delay_ms)
        assert actual["tokens"].tolist() == expected["tokens"].tolist()
        compare("core_transformers", actual, {"turns": expected["turns"]})


# ---- the demo model ------------------------------------------------------------------------------


def test_demo_model_on_real_speech(tmp_path: Path) -> None:
    """The trained demo model gives the tokens of transformers on every clip, and its states."""
    transformers = demo_model(tmp_path / "transformers")
    convert(DEMO, tmp_path / "demo.gguf", type="f32")

    clips = [clip for clip, _ in speech.held_out()]
    n_probed = len(clips)
    clips += speech.strangers() + speech.digits(400)
    assert len(clips) >= 100
    for number, clip in enumerate(clips[:100]):
        if number < n_probed:
            expected = transformers.run(clip.samples)
        else:
            expected = {"tokens": transformers.tokens(clip.samples)}
        actual = core_run(tmp_path / "demo.gguf", clip.samples, watch=False)
        assert actual["tokens"].tolist() == expected["tokens"].tolist(), number
        assert actual["text"] == transformers.text(expected["tokens"]), number
        if "turns" in expected:
            compare("core_transformers", actual, {"turns": expected["turns"]})

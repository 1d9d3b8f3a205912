"""The core is the model: transformers (as fixtures), tests/reference.py and the core agree.

The fixtures hold what transformers made of random checkpoints (tests/oracle/write_fixtures.py).
They pin the reference, which then judges the core at every probe and for clips and types that no
fixture covers. tolerances.json holds the limits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_model
from core import core_run, official_tensors
from reference import ENCODER, Reference
from tolerances import TOLERANCES, clear_clip, compare
from voxtral_edge.convert import convert

FIXTURES = sorted(Path(__file__).with_name("fixtures").glob("*.npz"))
TYPES = ("f32", "bf16", "f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")


class Checkpoints:
    """Tiny checkpoints and their conversions, each made once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.references: dict[Path, Reference] = {}

    def official(self, preset: str, seed: int, *, has_turns: bool = False) -> Path:
        directory = self.directory / f"{preset}-{seed}{'-turns' if has_turns else ''}"
        if not directory.exists():
            tiny_model.write_official(directory, seed, preset, has_turns=has_turns)
        return directory

    def reference(self, preset: str, seed: int, *, has_turns: bool = False) -> Reference:
        directory = self.official(preset, seed, has_turns=has_turns)
        if directory not in self.references:
            self.references[directory] = Reference(directory)
        return self.references[directory]

    def gguf(
        self, preset: str, seed: int, type_name: str = "f32", *, has_turns: bool = False
    ) -> Path:
        directory = self.official(preset, seed, has_turns=has_turns)
        path = directory.with_name(f"{directory.name}-{type_name}.gguf")
        if not path.exists():
            convert(directory, path, type=type_name)
        return path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("parity"))


# ---- transformers -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=FIXTURES, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> dict:
    with np.load(request.param) as arrays:
        return dict(arrays)


def thinned(probes: dict, case: dict) -> dict:
    """The rows and columns that the fixture keeps."""
    kept = {"turns": probes["turns"]} if "turns" in case else {}
    for name in (n for n in probes if f"{n}.stride" in case):
        rows, columns = case[f"{name}.stride"]
        kept[name] = probes[name][::rows, ::columns]
    return kept


def clip(case: dict) -> tuple[np.ndarray, int]:
    return case["clip"].astype(np.float32) / 32768, int(case["delay_ms"])


def checkpoint(case: dict) -> tuple[str, int]:
    return str(case["preset"]), int(case["seed"])


def test_fixtures_are_there() -> None:
    assert len(FIXTURES) >= 5


def test_reference_equals_transformers(checkpoints: Checkpoints, case: dict) -> None:
    reference = checkpoints.reference(*checkpoint(case), has_turns="turns" in case)
    probes = reference.run(*clip(case))
    assert probes["tokens"].tolist() == case["tokens"].tolist()
    compare("reference_transformers", thinned(probes, case), case)


def test_core_equals_transformers(checkpoints: Checkpoints, case: dict) -> None:
    path = checkpoints.gguf(*checkpoint(case), has_turns="turns" in case)
    probes = core_run(path, *clip(case))
    assert probes["tokens"].tolist() == case["tokens"].tolist()
    compare("core_transformers", thinned(probes, case), case)


def split_halves(reference: Reference) -> None:
    """The row order of transformers, read as if it were the official one."""
    for stack in (reference.encoder, reference.decoder):
        for name in [n for n in reference.tensors if n.split(".")[-2] in ("wq", "wk")]:
            if (ENCODER in name) == (stack is reference.encoder):
                tensor = reference.tensors[name]
                reference.tensors[name] = tiny_model.halves(tensor, stack["head_dim"])


def without(reference: Reference, part: str) -> None:
    for name in [n for n in reference.tensors if part in n]:
        reference.tensors[name] = np.zeros_like(reference.tensors[name])


def sine_first(reference: Reference) -> None:
    for name in [n for n in reference.tensors if n.endswith("ada_rms_norm_t_cond.0.weight")]:
        tensor = reference.tensors[name]
        reference.tensors[name] = np.roll(tensor, tensor.shape[1] // 2, axis=1)


MISTAKES = {
    "encoder window one longer": lambda r: r.encoder.update(sliding_window=25),
    "encoder window one shorter": lambda r: r.encoder.update(sliding_window=23),
    "decoder window one longer": lambda r: r.decoder.update(sliding_window=57),
    "decoder window one shorter": lambda r: r.decoder.update(sliding_window=55),
    "encoder theta 10000": lambda r: r.encoder.update(rope_theta=1e4),
    "decoder theta 10000": lambda r: r.decoder.update(rope_theta=1e4),
    "norm epsilon 1e-6": lambda r: r.encoder.update(norm_eps=1e-6),
    "rotation pairs as split halves": split_halves,
    "no query bias": lambda r: without(r, "wq.bias"),
    "no value bias": lambda r: without(r, "wv.bias"),
    "no delay conditioning": lambda r: without(r, "ada_rms_norm_t_cond"),
    "sine before cosine": sine_first,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_limits_catch(checkpoints: Checkpoints, mistake: str) -> None:
    """Each classic mistake, made on purpose, breaks the limit on the logits."""
    with np.load(Path(__file__).with_name("fixtures") / "micro_480ms.npz") as arrays:
        case = dict(arrays)
    expected = {"dec.logits": case["dec.logits"]}
    reference = Reference(checkpoints.official("micro", int(case["seed"])))
    MISTAKES[mistake](reference)
    actual = thinned(reference.run(*clip(case), forced=case["tokens"]), case)
    with pytest.raises(AssertionError, match="mean"):
        compare("reference_transformers", actual, expected)


# ---- reference ----------------------------------------------------------------------------------

CLIPS = [
    # preset, samples, delay in ms. The first outlasts the encoder's window 50 times.
    ("micro", 320_000, 480),
    ("kquant", 160_000, 1200),
    *(("micro", n, 80) for n in (0, 1, 39, 40, 1279, 1280, 1281)),
]


@pytest.mark.parametrize(("preset", "n", "delay_ms"), CLIPS)
def test_core_equals_reference(
    checkpoints: Checkpoints, preset: str, n: int, delay_ms: int
) -> None:
    samples, expected = clear_clip(checkpoints.reference(preset, 5), n, delay_ms)
    actual = core_run(checkpoints.gguf(preset, 5), samples, delay_ms)
    assert len(actual["tokens"]) == -(-n // 1280) + 10
    assert actual["slots"].tolist() == list(range(len(actual["tokens"])))
    assert actual["tokens"].tolist() == expected["tokens"].tolist()
    assert actual["text"] == expected["text"]
    measured = compare("core_reference", actual, expected)
    assert measured.keys() == expected.keys() - {"tokens", "text"}


@pytest.mark.parametrize(("chunk", "batch_ms", "n_threads"), [(160, 80, 1), (1281, 1280, 2)])
def test_every_bit_is_the_same_however_audio_arrives(
    checkpoints: Checkpoints, chunk: int, batch_ms: int, n_threads: int
) -> None:
    samples, model = tiny_model.make_audio(60_000, seed=6), checkpoints.gguf("micro", 5)
    whole = core_run(model, samples)
    cut = core_run(model, samples, chunk=chunk, batch_ms=batch_ms, n_threads=n_threads)
    assert whole.keys() == cut.keys()
    for name, rows in whole.items():
        assert np.array_equal(rows, cut[name]), name


# ---- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["micro", "kquant"])
def test_f32_file_holds_the_checkpoint_exactly(checkpoints: Checkpoints, preset: str) -> None:
    expected = checkpoints.reference(preset, 5).tensors
    actual = official_tensors(checkpoints.gguf(preset, 5))
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(actual[name], tensor), name


@pytest.mark.parametrize("type_name", TYPES[1:])
@pytest.mark.parametrize("preset", ["micro", "kquant"])
def test_quantised_logits_drift_within_bounds(
    checkpoints: Checkpoints, preset: str, type_name: str
) -> None:
    """Two limits: the arithmetic on the stored weights, and the loss against the f32 weights.

    The reference is fed the core's tokens, so that every step can be compared. Drift is relative:
    root mean square of the difference over that of the reference's logits.
    """
    samples, model = tiny_model.make_audio(80_000, seed=5), checkpoints.gguf(preset, 5, type_name)
    actual = core_run(model, samples)
    official = checkpoints.official(preset, 5)
    stored = Reference(official, official_tensors(model))
    for reference, section in (
        (stored, "stored_weights"),
        (checkpoints.reference(preset, 5), "f32_weights"),
    ):
        logits = reference.run(samples, forced=actual["tokens"])["dec.logits"]
        drift = np.sqrt(np.mean((actual["dec.logits"] - logits) ** 2) / np.mean(logits**2))
        limit = TOLERANCES["quantised"][section][preset][type_name]["max"]
        assert drift <= limit, f"{section}: {drift:.4f} > {limit}"

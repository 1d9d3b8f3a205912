"""The decoder for llama.cpp: the file, read back by the gguf package, and the words that come out.

llama.cpp runs on one thread, since its threads spin while they wait for each other. What needs it
is skipped where llama-cpp-python is not installed: `make llama` installs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox
from core import core_run
from reference import Reference, read_safetensors
from voxtral_edge.convert import ConversionError, convert, convert_decoder, verify
from voxtral_edge.convert.convert_voxtral import main

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
LAYER = {
    "attn_norm": "attention_norm",
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_up": "feed_forward.w3",
    "ffn_down": "feed_forward.w2",
}


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write_official(tmp_path_factory.mktemp("official"), seed=3)


@pytest.fixture(scope="module")
def decoder_path(official: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("decoder") / "decoder.gguf"
    convert_decoder(official, path, type="f32")
    return path


def keys_of(path: Path) -> dict[str, Any]:
    return {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}


def tensors_of(path: Path) -> dict[str, np.ndarray]:
    """Arrays in torch's order, copied out of the file."""
    found = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}
    assert all(values.dtype == np.float32 for values in found.values())
    return found


# ---- the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_ms", [80, 480, 2400])
def test_tensors(official: Path, tmp_path: Path, delay_ms: int) -> None:
    """Copied but for the norms, rows of queries and keys in pairs, and nothing else."""
    path = tmp_path / "decoder.gguf"
    made = convert_decoder(official, path, type="f32", delay_ms=delay_ms)
    reference, source = Reference(official), read_safetensors(official / "consolidated.safetensors")
    expected = {
        "token_embd.weight": source[tiny_model.ADAPTER + "tok_embeddings.weight"],
        "output_norm.weight": source["norm.weight"],
    }
    for i in range(reference.decoder["n_layers"]):
        for name, theirs in LAYER.items():
            expected[f"blk.{i}.{name}.weight"] = source[f"layers.{i}.{theirs}.weight"]
        scale = reference.ada_scale(i, delay_ms // 80)
        assert np.abs(scale - 1).max() > 0.1  # a scale that was forgotten would be noticed
        expected[f"blk.{i}.ffn_norm.weight"] = expected[f"blk.{i}.ffn_norm.weight"] * scale
    found = tensors_of(path)
    assert found.keys() == expected.keys() and made.n_tensors == len(found)
    assert made.n_params == sum(values.size for values in found.values())
    for name, values in found.items():
        if "ffn_norm" in name:
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(values, expected[name], name)


def test_both_layouts_give_the_same_tensors(decoder_path: Path, tmp_path: Path) -> None:
    """transformers keeps the halves of a head apart; llama.cpp wants the pairs."""
    folder = tiny_model.write_transformers(tmp_path / "transformers", seed=3)
    convert_decoder(folder, tmp_path / "decoder.gguf", type="f32")
    ours, theirs = tensors_of(decoder_path), tensors_of(tmp_path / "decoder.gguf")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], name)


def test_sizes(decoder_path: Path) -> None:
    keys, sizes = keys_of(decoder_path), tiny_model.PRESETS["micro"]
    expected = {
        "general.architecture": "llama",
        "llama.vocab_size": sizes.n_vocab,
        "llama.context_length": sizes.dec_window,
        "llama.embedding_length": sizes.dec_dim,
        "llama.block_count": sizes.dec_n_layers,
        "llama.feed_forward_length": sizes.dec_hidden_dim,
        "llama.attention.head_count": sizes.dec_n_heads,
        "llama.attention.head_count_kv": sizes.dec_n_kv_heads,
        "llama.attention.key_length": sizes.dec_head_dim,
        "llama.attention.value_length": sizes.dec_head_dim,
        "llama.attention.layer_norm_rms_epsilon": np.float32(1e-5),
        "llama.rope.dimension_count": sizes.dec_head_dim,
        "llama.rope.freq_base": 1e6,
        "voxtral_edge.decoder.delay_ms": sizes.delay_ms,
    }
    assert {key: keys[key] for key in expected} == expected


def test_documented_keys(decoder_path: Path) -> None:
    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    section = text[text.index("## The decoder for llama.cpp") :]
    keys = [key for key in keys_of(decoder_path) if not key.startswith(("GGUF.", "general."))]
    assert len(keys) > 20 and [key for key in keys if f"`{key}`" not in section] == []


def test_vocabulary(decoder_path: Path) -> None:
    """Every token's bytes by GPT-2's letters, and each merge makes a token of two others."""
    keys = keys_of(decoder_path)
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    n = tiny_model.N_SPECIAL
    assert tokens[1] == "<s>" and keys["tokenizer.ggml.bos_token_id"] == 1
    assert set(types[:n]) == {gguf.TokenType.CONTROL} and set(types[n:]) == {gguf.TokenType.NORMAL}
    texts = tiny_model.text_tokens(len(tokens) - n)
    letters = tokens[n : n + 256]  # the first ranks are the single bytes, in order
    assert len(set(letters)) == 256 and not any(c.isspace() for c in letters)
    assert letters[ord("a")] == "a" and letters[ord(" ")] == "\u0120"
    assert tokens[n:] == ["".join(letters[byte] for byte in text) for text in texts]
    merges = [merge.split(" ") for merge in keys["tokenizer.ggml.merges"]]
    assert merges and all({a, b, a + b} <= set(tokens) for a, b in merges)
    assert sorted(merges, key=lambda pair: tokens.index("".join(pair))) == merges


def test_vocabulary_that_llama_cpp_would_abort_on(tmp_path: Path) -> None:
    folder = tiny_model.write_official(tmp_path / "official")
    tekken = (folder / "tekken.json").read_text(encoding="utf-8")
    (folder / "tekken.json").write_text(tekken.replace('"[IMG]"', '"[INST]"'), encoding="utf-8")
    with pytest.raises(ConversionError, match=r"'\[INST\]' is there 2 times"):
        convert_decoder(folder, tmp_path / "decoder.gguf")
    assert not (tmp_path / "decoder.gguf").exists()


@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0", "q4_0"])
def test_verify(official: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "decoder.gguf"
    convert_decoder(official, path, type=kind, delay_ms=960)
    verify(official, path)
    whole = bytearray(path.read_bytes())
    norm = next(t for t in gguf.GGUFReader(path).tensors if t.name == "blk.1.ffn_norm.weight")
    whole[int(norm.data_offset) + 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ConversionError, match=r"tensor blk\.1\.ffn_norm\.weight"):
        verify(official, path)


def test_command(
    official: Path, decoder_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "decoder.gguf"
    command = [str(official), str(path), "--type", "f32", "--decoder-only"]
    assert main([*command, "--verify"]) == 0
    assert path.read_bytes() == decoder_path.read_bytes()
    assert main([*command, "--delay", "1280"]) == 2
    assert "a delay of 1280 ms is not possible" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([str(official), str(path), "--delay", "480"])
    assert "--delay needs --decoder-only" in capsys.readouterr().err
    assert path.read_bytes() == decoder_path.read_bytes()


def test_the_core_refuses_it(decoder_path: Path) -> None:
    with pytest.raises(vox.ModelFormatError, match="another program"):
        vox.Model(decoder_path)


# ---- the words ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama() -> Any:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: run make llama")
    from voxtral_edge import llama

    return llama


@pytest.fixture
def pair(llama: Any, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    def make(checkpoint: Path, kind: str, delay_ms: int) -> tuple[Path, Path]:
        model, decoder = tmp_path / "model.gguf", tmp_path / "decoder.gguf"
        convert(checkpoint, model, type=kind)
        convert_decoder(checkpoint, decoder, type=kind, delay_ms=delay_ms)
        return model, decoder

    return make


# In F32, llama.cpp's logits are within 2e-5 of ours, and no choice between tokens is that close. In
# F16 it rounds activations as well: logits of the random models differ by up to 0.011 then, and a
# token may differ where two are closer than twice that; what follows has another past.
MARGINS = {"f32": 0.0, "f16": 0.03}


def compare(llama: Any, paths: tuple[Path, Path], samples: np.ndarray, delay_ms: int) -> None:
    """Slot by slot the same, for 60 slots at least, up to a choice within the margin."""
    with vox.Model(paths[0]) as model, llama.Decoder(paths[1], threads=1) as decoder:
        assert decoder.delay_ms == delay_ms
        ours = list(model.slots(samples, delay_ms=delay_ms))
        theirs = list(decoder.slots(model, samples))
        margin = MARGINS[model.file_type]
    assert len(theirs) == len(ours) > 60
    if theirs == ours:
        return
    first = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    logits = core_run(paths[0], samples, delay_ms)["dec.logits"][first]
    second, best = np.sort(logits)[-2:]
    assert first > 60 and best - second < margin, f"slot {first}: margin {best - second}"


@pytest.mark.parametrize("delay_ms", [80, 480, 2400])
@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize("seed", [3, 4])
def test_random_model(
    llama: Any, pair: Any, tmp_path: Path, kind: str, delay_ms: int, seed: int
) -> None:
    """Ten seconds: three windows of the decoder, and at 2400 ms a prompt longer than one."""
    official = tiny_model.write_official(tmp_path / "official", seed=seed)
    samples = tiny_model.make_audio(10 * vox.RATE, seed=7)
    compare(llama, pair(official, kind, delay_ms), samples, delay_ms)


@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_demo(llama: Any, pair: Any, digits: np.ndarray, kind: str) -> None:
    samples = np.concatenate([digits, digits])
    compare(llama, pair(DEMO, kind, 480), samples, 480)


def test_any_type_of_the_model_will_do(
    llama: Any, demo: vox.Model, digits: np.ndarray, digits_words: str, tmp_path: Path
) -> None:
    """The encoder from one file, the decoder from another; and words come out."""
    convert_decoder(DEMO, tmp_path / "decoder.gguf", type="q8_0")
    with llama.Decoder(tmp_path / "decoder.gguf", threads=1) as decoder:
        text = "".join(slot.text for slot in decoder.slots(demo, digits))
    assert text.strip() == digits_words


def test_runs_are_independent(
    llama: Any, tiny: vox.Model, decoder_path: Path, noise: np.ndarray
) -> None:
    """Two runs side by side, a third given up, and the weights stay until the last has ended."""
    with llama.Decoder(decoder_path, threads=1) as decoder:
        alone = list(decoder.slots(tiny, noise))
        first, second = decoder.slots(tiny, noise), decoder.slots(tiny, noise)
        given_up = decoder.slots(tiny, noise)
        assert next(given_up) == alone[0]
        given_up.close()
        begun = [next(first), next(second)]
    assert [begun[0], *first] == [begun[1], *second] == alone
    with pytest.raises(vox.ModelClosed):
        next(decoder.slots(tiny, noise))
    decoder.close()


def test_live(llama: Any, tiny: vox.Model, decoder_path: Path, noise: np.ndarray) -> None:
    """Slots come as soon as the audio allows, and the cut makes no difference."""
    taken = 0

    def live() -> Any:
        nonlocal taken
        for start in range(0, len(noise), 1000):
            taken = start + 1000
            yield noise[start : start + 1000]

    with llama.Decoder(decoder_path, threads=1) as decoder:
        slots = decoder.slots(tiny, live())
        first = next(slots)
        assert taken == 9000  # the prompt's audio at a delay of 480 ms
        assert [first, *slots] == list(decoder.slots(tiny, noise))


def test_llama_cpp_reads_the_vocabulary(llama: Any, tmp_path: Path) -> None:
    """It cuts text into the tokens that the lowest ranks make, and joins them again."""
    import llama_cpp

    convert_decoder(DEMO, tmp_path / "decoder.gguf", type="f16")
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(bytes(tmp_path / "decoder.gguf"), params)
    vocab, text = llama_cpp.llama_model_get_vocab(model), "the plate is 7 \u00e9".encode()
    ids = (llama_cpp.llama_token * 64)()
    n = llama_cpp.llama_tokenize(vocab, text, len(text), ids, len(ids), True, False)
    tokens = list(ids[:n])
    llama_cpp.llama_model_free(model)
    with vox.Model() as demo:
        pieces = [demo.token_bytes(token) for token in tokens]
    assert b"".join(pieces) == text and pieces[:1] == [b"the"] and len(pieces) < len(text) // 2


def test_what_the_decoder_refuses(
    llama: Any,
    tiny: vox.Model,
    demo: vox.Model,
    decoder_path: Path,
    tiny_path: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(vox.ModelNotFound, match="--decoder-only"):
        llama.Decoder(tmp_path / "nothing.gguf")
    with pytest.raises(vox.ModelFormatError, match=r"is not a decoder for llama\.cpp"):
        llama.Decoder(tiny_path)
    (tmp_path / "half.gguf").write_bytes(decoder_path.read_bytes()[:5000])
    with pytest.raises(vox.ModelFormatError, match="not a whole GGUF file"):
        llama.Decoder(tmp_path / "half.gguf")
    with (
        llama.Decoder(decoder_path, threads=1) as decoder,
        pytest.raises(vox.ModelFormatError, match="decoder of another model"),
    ):
        next(decoder.slots(demo, np.zeros(16000, np.float32)))


def test_without_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    monkeypatch.delitem(sys.modules, "voxtral_edge.llama", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'voxtral-edge\[llama\]'"):
        import voxtral_edge.llama  # noqa: F401

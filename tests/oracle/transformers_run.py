"""The published implementation (transformers, f32, CPU) with the probe names of tests/reference.py.

A checkpoint in the transformers layout and a whole clip go in. Tokens come from generate(), that is
from the prefill and the cached single steps; every other probe from one teacher-forced pass over
the clip with those tokens, through forward hooks. transformers passes the clip through a 16-bit
WAV, so samples must be exact in 16 bits.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tiny_model
import torch
from reference import Reference
from safetensors.torch import load_file
from transformers import (
    VoxtralRealtimeConfig,
    VoxtralRealtimeForConditionalGeneration,
    VoxtralRealtimeProcessor,
)

PAD_ID = 11
TURN_HEAD = "vad_lm_head.weight"
WRAPPED = "base_model."
DEMO = Path(__file__).parents[2] / "demo"


class TransformersModel:
    """One checkpoint directory in the transformers layout, which may have a head for turns."""

    def __init__(self, directory: Path) -> None:
        self.turn_head: torch.Tensor | None = None  # [6, dim]
        single = directory / "model.safetensors"
        tensors = load_file(single) if single.exists() else {}
        if TURN_HEAD in tensors:
            self.turn_head = tensors.pop(TURN_HEAD)[35:41].float()
            config = VoxtralRealtimeConfig.from_pretrained(directory, attn_implementation="eager")
            self.model = VoxtralRealtimeForConditionalGeneration(config).float().eval()
            plain = {name.removeprefix(WRAPPED): value for name, value in tensors.items()}
            missing, unexpected = self.model.load_state_dict(plain, strict=False)
            assert set(missing) <= {"lm_head.weight"} and not unexpected
            self.model.tie_weights()
        else:
            self.model = VoxtralRealtimeForConditionalGeneration.from_pretrained(
                directory, dtype=torch.float32, attn_implementation="eager"
            ).eval()
        self.processor = VoxtralRealtimeProcessor.from_pretrained(directory)
        # The core never stops at the end-of-sequence token, and random weights may choose it.
        self.model.generation_config.eos_token_id = None

    @torch.no_grad()
    def run(self, samples: np.ndarray, delay_ms: int = 480) -> dict[str, np.ndarray]:
        """Every probe, "tokens", and "generate.logits": the scores of the cached single steps.

        Of a model with a head for them "turns", the probabilities of its states.
        """
        inputs = self._inputs(samples, delay_ms)
        n_prompt = inputs.input_ids.shape[1]
        result = self._generate(inputs)
        tokens = result.sequences[0, n_prompt:]

        n_slots = inputs.input_features.shape[-1] // 8
        filler = torch.full((1, n_slots - result.sequences.shape[1]), PAD_ID)
        ids = torch.cat([result.sequences, filler], dim=1)[:, :n_slots]
        probes = self._teacher_forced(ids, inputs)
        probes["mel"] = inputs.input_features[0].T.numpy()
        n_tokens = len(tokens)
        said = slice(n_prompt - 1, n_prompt - 1 + n_tokens)
        probes["dec.logits"] = probes["dec.logits"][said]
        if self.turn_head is not None:
            hidden = torch.from_numpy(probes["dec.out"][said])
            probes["turns"] = (hidden @ self.turn_head.T).softmax(dim=1).numpy()
        probes["generate.logits"] = torch.cat(result.scores).numpy()
        probes["tokens"] = tokens.numpy()
        return probes

    @torch.no_grad()
    def tokens(self, samples: np.ndarray, delay_ms: int = 480) -> np.ndarray:
        """The generated token ids only."""
        inputs = self._inputs(samples, delay_ms)
        return self._generate(inputs).sequences[0, inputs.input_ids.shape[1] :].numpy()

    def text(self, tokens: np.ndarray) -> str:
        """Token ids to text, special tokens dropped."""
        return self.processor.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)

    def _inputs(self, samples: np.ndarray, delay_ms: int):
        # The processor has no delay argument: it reads the setting that came with tekken.json.
        self.processor.mistral_common_audio_config.transcription_delay_ms = float(delay_ms)
        return self.processor(samples, sampling_rate=16000, return_tensors="pt")

    def _generate(self, inputs):
        return self.model.generate(
            **inputs, do_sample=False, output_scores=True, return_dict_in_generate=True
        )

    def _teacher_forced(self, ids: torch.Tensor, inputs) -> dict[str, np.ndarray]:
        model, probes, hooks = self.model.model, {}, []
        places = {
            "conv": model.audio_tower.embedder,
            "enc.out": model.audio_tower.norm,
            "audio": model.multi_modal_projector,
            "dec.out": model.language_model.norm,
        }
        for i, layer in enumerate(model.audio_tower.layers):
            places[f"enc.blk.{i}"] = layer
        for i, layer in enumerate(model.language_model.layers):
            places[f"dec.blk.{i}"] = layer
        for name, module in places.items():

            def keep(_module, _args, output, name=name):
                rows = output[0] if isinstance(output, tuple) else output
                # A copy: transformers adds to some of these tensors in place.
                probes[name] = rows.detach().clone()[0].numpy()

            hooks.append(module.register_forward_hook(keep))
        try:
            out = self.model(
                input_ids=ids,
                input_features=inputs.input_features,
                num_delay_tokens=inputs.num_delay_tokens,
                use_cache=False,
            )
        finally:
            for hook in hooks:
                hook.remove()
        probes["dec.logits"] = out.logits[0].numpy()
        return probes


def demo_model(directory: Path) -> TransformersModel:
    """The trained demo model, which is written to directory in the transformers layout."""
    reference = Reference(DEMO)
    tekken = json.loads((DEMO / "tekken.json").read_text(encoding="utf-8"))
    tiny_model.to_transformers(directory, reference.tensors, reference.decoder, tekken)
    return TransformersModel(directory)

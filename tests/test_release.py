"""What a wheel says of itself: what is in it, and nothing of the machine that built it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from pathlib import Path

import pytest
import voxtral_edge as vox
from voxtral_edge import _voxtral

ROOT = Path(__file__).parents[1]


def sbom() -> str:
    files = importlib.metadata.files("voxtral-edge") or []
    (path,) = (file for file in files if file.match("*.dist-info/sboms/*.cdx.json"))
    return path.read_text()


def test_sbom_is_one() -> None:
    pytest.importorskip("cyclonedx")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom()) is None
    spoilt = sbom().replace('"library"', '"librarian"', 1)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(spoilt) is not None


def test_sbom_says_what_is_in_the_wheel() -> None:
    told = json.loads(sbom())
    assert told["metadata"]["component"]["version"] == vox.__version__
    ggml, demo = told["components"]
    pin = (ROOT / "csrc" / "ggml.cmake").read_text()
    found = dict(re.findall(r"^set\(ggml_(package|version|sha256) (\S+)\)", pin, re.MULTILINE))
    assert ggml["purl"] == f"pkg:pypi/{found['package']}@{found['version']}"
    assert ggml["hashes"] == [{"alg": "SHA-256", "content": found["sha256"]}]
    model = Path(vox.__file__).with_name("demo.gguf").read_bytes()
    assert demo["hashes"][0]["content"] == hashlib.sha256(model).hexdigest()
    said = _voxtral.ffi.new("char[100]")
    _voxtral.lib.vox_ggml_version(said, 100)
    assert _voxtral.ffi.string(said).decode().startswith(ggml["version"])


def test_module_names_no_folder_of_the_machine_that_built_it() -> None:
    module = Path(_voxtral.__file__).read_bytes()
    paths = set(re.findall(rb"[\x20-\x7e]*\.(?:c|h|cpp|py)(?=\0)", module))
    assert paths  # those of assertions
    assert not any(path.startswith(b"/") for path in paths), paths

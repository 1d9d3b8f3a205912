"""What makes releases keeps to the schemas of those who read it, and names what there is."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"


def test_the_workflow_keeps_to_its_schema() -> None:
    pytest.importorskip("check_jsonschema")
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows",
         str(WORKFLOW)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_cibuildwheel_keeps_to_its_schema() -> None:
    tomllib = pytest.importorskip("tomllib")
    package = pytest.importorskip("cibuildwheel")
    schema = resources.files(package) / "resources" / "cibuildwheel.schema.json"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    jsonschema.validate(
        settings["tool"]["cibuildwheel"], json.loads(schema.read_text(encoding="utf-8"))
    )


def test_all_that_is_named_is_there() -> None:
    """Scripts and their targets, tests, recordings."""
    said = WORKFLOW.read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r"\b(?:scripts|tests|samples)/[\w./]+", said) + re.findall(
        r"\{project\}/([\w./]+)", project
    )
    assert len(named) >= 6
    for name in named:
        assert (ROOT / name).exists(), name
    wheel = (ROOT / "scripts" / "wheel").read_text(encoding="utf-8")
    for target in re.findall(r"scripts/wheel (\S+)", said):
        assert f"{target})" in wheel


def test_the_readme_has_the_table_of_all_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As scripts/everywhere prints it when nothing fails."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = str(ROOT / "scripts" / "everywhere")
    loader = importlib.machinery.SourceFileLoader("everywhere", path)
    spec = importlib.util.spec_from_loader("everywhere", loader)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "everywhere", module)
    loader.exec_module(module)
    rows = [module.said_of(machine) for machine in module.MACHINES]
    assert module.table(rows) in (ROOT / "README.md").read_text(encoding="utf-8")
    for machine in module.MACHINES:
        for script in re.findall(r"\bscripts/\w+", " ".join(machine.commands)):
            assert (ROOT / script).exists(), script

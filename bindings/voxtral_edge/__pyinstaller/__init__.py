"""The hook by which PyInstaller bundles this package whole; an entry point tells of it."""

from __future__ import annotations

from pathlib import Path


def hook_folders() -> list[str]:
    """Return the folders that PyInstaller looks for hooks in."""
    return [str(Path(__file__).parent)]

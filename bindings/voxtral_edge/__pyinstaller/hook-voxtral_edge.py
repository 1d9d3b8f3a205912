# ruff: noqa: N999  (PyInstaller finds a hook by this name)
"""What PyInstaller does not see by itself: the demo model, the recordings, the version, cffi."""

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

datas = collect_data_files("voxtral_edge") + copy_metadata("voxtral-edge")
hiddenimports = ["_cffi_backend"]

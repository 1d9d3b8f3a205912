"""What files of sound and video are called."""

from __future__ import annotations

from pathlib import PurePath

# What is taken from a folder: sound, then video.
SUFFIXES = (
    *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka"),
    *(".mp2", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav", ".wma", ".wv"),
    *(".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"),
    *(".wmv",),
)


def is_named(place: PurePath) -> bool:
    """Whether a name ends like those of sound or video."""
    return place.suffix.lower() in SUFFIXES


def stem(place: PurePath) -> str:
    """Return the last part of a place without the ending of sound or video, if it has one.

    What else follows a dot, as in "meeting 12.30", is part of the name.
    """
    return place.stem if is_named(place) else place.name

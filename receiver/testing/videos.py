"""A small real video and a picture, to be saved, decoded and compared."""

from __future__ import annotations

from importlib import resources

from receiver.sandbox.videos import sample


def sample_video(mark: str = "") -> bytes:
    """Give a playable MP4 of three seconds and about 43 kilobytes; another `mark` makes other bytes."""
    return sample(mark)


def sample_picture() -> bytes:
    """Give a small JPEG."""
    return resources.files("receiver.sandbox").joinpath("sample.jpg").read_bytes()

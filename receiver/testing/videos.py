"""A small real video, to be saved, decoded and compared."""

from __future__ import annotations

from receiver.sandbox.videos import sample


def sample_video(mark: str = "") -> bytes:
    """Give a playable MP4 of three seconds and about 43 kilobytes; another `mark` makes other bytes."""
    return sample(mark)

"""Frames on the store's socket, cut in any way; and the socket's name in any folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.errors import StoreError
from receiver.store.wire import ERRORS, LARGEST_FRAME, Frames, lock_path, pack, short_name, socket_path

MESSAGES: list[Any] = [
    [1, "hello", 1],
    [2, "record", [["ü🎬\n", None, 1.5, {}]]],
    [],
    [3, "", "x" * 5000],
    None,
]
STREAM = b"".join(pack(message) for message in MESSAGES)


def received(chunks: Iterable[bytes]) -> list[Any]:
    frames = Frames()
    return [message for chunk in chunks for message in frames.feed(chunk)]


def test_a_frame_is_four_bytes_of_length_and_json() -> None:
    assert pack([1, "a"]) == b'\x00\x00\x00\x07[1,"a"]'


def test_all_that_arrives_at_once_is_given_in_order() -> None:
    assert received([STREAM]) == MESSAGES


def test_a_stream_cut_at_any_position_gives_the_same_messages() -> None:
    for cut in range(len(STREAM) + 1):
        assert received([STREAM[:cut], STREAM[cut:]]) == MESSAGES


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, 1000])
def test_a_stream_in_equal_pieces_gives_the_same_messages(size: int) -> None:
    assert received(STREAM[start : start + size] for start in range(0, len(STREAM), size)) == MESSAGES


def test_a_message_is_given_as_soon_as_it_is_complete_and_once() -> None:
    frames = Frames()
    frame = pack([1])
    assert list(frames.feed(frame[:-1])) == []
    assert list(frames.feed(frame[-1:] + frame[:2])) == [[1]]
    assert list(frames.feed(b"")) == []
    assert list(frames.feed(frame[2:])) == [[1]]


def test_a_length_that_no_message_has_is_refused_before_anything_is_gathered() -> None:
    with pytest.raises(StoreError):
        received([(LARGEST_FRAME + 1).to_bytes(4, "big")])
    assert received([LARGEST_FRAME.to_bytes(4, "big")]) == []


def test_what_is_not_json_is_an_error_of_value() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        received([b"\x00\x00\x00\x03{x}"])


def test_errors_cross_by_their_names() -> None:
    assert {name: error.__name__ for name, error in ERRORS.items()} == {name: name for name in ERRORS}
    assert set(ERRORS) >= {"NotFound", "StoreError", "Unavailable"}


def test_socket_and_lock_stand_beside_the_database() -> None:
    database = Path("/srv/data/receiver.db")
    assert socket_path(database) == Path("/srv/data/receiver.db.sock")
    assert lock_path(database) == Path("/srv/data/receiver.db.lock")
    assert socket_path(Path("r.db")) == Path.cwd() / "r.db.sock"


def test_a_short_name_is_left_as_it_is() -> None:
    with short_name(Path("/run/r.db.sock")) as name:
        assert name == "/run/r.db.sock"


@pytest.mark.parametrize("folder", ["d" * 200, "ü" * 40], ids=["long", "long in bytes only"])
def test_a_socket_in_a_deep_folder_is_bound_and_found_under_a_name_the_kernel_takes(
    tmp_path: Path, folder: str
) -> None:
    path = tmp_path / folder / "receiver.db.sock"
    path.parent.mkdir()
    assert len(os.fsencode(path)) > 100
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with closing(socket.socket(socket.AF_UNIX)) as listener, closing(socket.socket(socket.AF_UNIX)) as client:
        with short_name(path) as name:
            assert len(os.fsencode(name)) < 100
            listener.bind(name)
        listener.listen()
        assert path.is_socket()
        with short_name(path) as name:
            client.connect(name)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_a_deep_folder_that_is_not_there_is_an_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), short_name(tmp_path / ("d" * 200) / "receiver.db.sock"):
        pass

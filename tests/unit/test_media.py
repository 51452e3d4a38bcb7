"""What is a video, and what only claims to be one."""

from __future__ import annotations

import pytest

from receiver.media import HEAD_BYTES, describe, sniff, sniff_picture


def iso(brand: bytes) -> bytes:
    return b"\x00\x00\x00\x20ftyp" + brand + b"\x00\x00\x02\x00" + b"isomiso2avc1mp41"


def ebml(doctype: bytes) -> bytes:
    element = b"\x42\x82" + bytes([0x80 | len(doctype)]) + doctype
    return b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08" + element


@pytest.mark.parametrize(
    ("head", "extension", "mime"),
    [
        (iso(b"isom"), "mp4", "video/mp4"),
        (iso(b"mp42"), "mp4", "video/mp4"),
        (iso(b"iso6"), "mp4", "video/mp4"),
        (iso(b"zzzz"), "mp4", "video/mp4"),
        (iso(b"M4V "), "m4v", "video/x-m4v"),
        (iso(b"qt  "), "mov", "video/quicktime"),
        (iso(b"3gp5"), "3gp", "video/3gpp"),
        (iso(b"3g2a"), "3g2", "video/3gpp2"),
        (b"\x00\x00\x10\x00moov\x00\x00\x00\x6cmvhd", "mov", "video/quicktime"),
        (b"\x00\x00\x00\x01mdat\x00\x00\x00\x00", "mov", "video/quicktime"),
        (ebml(b"webm"), "webm", "video/webm"),
        (ebml(b"webm\0\0"), "webm", "video/webm"),
        (ebml(b"matroska"), "mkv", "video/x-matroska"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", "avi", "video/x-msvideo"),
        (b"\x47".ljust(188, b"\xff") * 5, "ts", "video/mp2t"),
        (b"\x00\x00\x01\xba\x44", "mpg", "video/mpeg"),
        (b"\x00\x00\x01\xb3\x14", "mpg", "video/mpeg"),
        (b"OggS\x00\x02" + bytes(20) + b"\x01\x2a\x80theora", "ogv", "video/ogg"),
        (b"FLV\x01\x05\x00\x00\x00\x09", "flv", "video/x-flv"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "wmv", "video/x-ms-wmv"),
    ],
)
def test_a_video_is_known_by_its_first_bytes(head: bytes, extension: str, mime: str) -> None:
    container = sniff(head)
    assert container is not None
    assert (container.extension, container.mime) == (extension, mime)


@pytest.mark.parametrize(
    ("head", "looks_like"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><title>Sorry</title>", "HTML"),
        (b"\n  <HTML lang=en>", "HTML"),
        (b"\xef\xbb\xbf<html>", "HTML"),
        (b'<?xml version="1.0"?><!DOCTYPE html><html>', "HTML"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b"<Error><Code>NoSuchKey</Code></Error>", "XML"),
        (b'{"error": "not found"}', "JSON"),
        (b"[1]", "JSON"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd", "a playlist"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'", "text"),
        (b"<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'>", "XML"),
        (b"Not found", "text"),
        ("日本".encode() * 300, "text"),
        (("x" + "日本" * 300).encode()[:HEAD_BYTES], "text"),
        (b"GIF89a\x01\x00", "a picture"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"\xff\xd8\xff\xe0", "a picture"),
        (iso(b"heic"), "a picture"),
        (iso(b"avif"), "a picture"),
        (b"RIFF\x10\x00\x00\x00WEBP", "a picture"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "sound"),
        (iso(b"M4A "), "sound"),
        (b"ID3\x04\x00", "sound"),
        (b"OggS\x00\x02" + bytes(22) + b"\x01vorbis", "sound"),
        (b"\x1f\x8b\x08\x00", "compressed"),
        (b"PK\x03\x04", "compressed"),
        (b"G", "text"),
        (b"\x47\x00\x00\x00", "unknown"),
        (b"\x47" * 187, "text"),
        (b"\x00" * 64, "unknown"),
        (b"\xff" * 64, "unknown"),
        (b"\x1a\x45\xdf\xa3", "unknown"),
        (ebml(b"other"), "unknown"),
        (b"I'm free of charge", "text"),
        (b"\x00\x00\x00\x20ft", "unknown"),
    ],
)
def test_what_is_no_video_is_described_without_quoting_it(head: bytes, looks_like: str) -> None:
    assert sniff(head) is None
    assert describe(head) == looks_like


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "jpg"),
        (b"\x89PNG\r\n\x1a\n\x00", "png"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "webp"),
        (b"GIF87a\x01", "gif"),
        (b"GIF89a\x01", "gif"),
    ],
)
def test_a_picture_is_recognised_by_its_bytes(head: bytes, extension: str) -> None:
    found = sniff_picture(head)

    assert found is not None
    assert found.extension == extension
    assert found.mime.startswith("image/")
    assert sniff(head) is None


@pytest.mark.parametrize(
    "head", [b"", b"\xff\xd8", b"\x89PNG", b"RIFF\x10\x00\x00\x00WAVE", b"GIF8", b"<svg>", iso(b"isom")]
)
def test_whatever_else_is_no_picture(head: bytes) -> None:
    assert sniff_picture(head) is None

"""What kind of file some bytes are, judged by how they begin and never by a name or header."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 1024
"""How much of a file `sniff` and `describe` want to see; a shorter file is shown whole."""

_TS_PACKET = 188
_TS_SYNC = 0x47
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r"))


@dataclass(frozen=True, slots=True)
class Container:
    """A container format: the file name's extension, without its dot, and the MIME type."""

    extension: str
    mime: str


_MP4 = Container("mp4", "video/mp4")
_M4V = Container("m4v", "video/x-m4v")
_MOV = Container("mov", "video/quicktime")
_3GP = Container("3gp", "video/3gpp")
_3G2 = Container("3g2", "video/3gpp2")
_WEBM = Container("webm", "video/webm")
_MKV = Container("mkv", "video/x-matroska")
_AVI = Container("avi", "video/x-msvideo")
_TS = Container("ts", "video/mp2t")
_MPG = Container("mpg", "video/mpeg")
_OGV = Container("ogv", "video/ogg")
_FLV = Container("flv", "video/x-flv")
_WMV = Container("wmv", "video/x-ms-wmv")

_JPEG = Container("jpg", "image/jpeg")
_PNG = Container("png", "image/png")
_WEBP = Container("webp", "image/webp")
_GIF = Container("gif", "image/gif")

CONTAINERS = (_MP4, _M4V, _MOV, _3GP, _3G2, _WEBM, _MKV, _AVI, _TS, _MPG, _OGV, _FLV, _WMV)

# Brands of the ISO base media format (mp4ra.org) that say "pictures only" or "sound only".
_NO_VIDEO_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"M4A ", b"M4B ", b"M4P ", b"crx ")
_BRANDS = {b"qt  ": _MOV, b"M4V ": _M4V, b"M4VH": _M4V, b"M4VP": _M4V}
# The first boxes of QuickTime files that are older than the `ftyp` box.
_OLD_QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_OGG_VIDEO = (b"\x80theora", b"BBCD\x00", b"\x01video\x00\x00\x00", b"OVP80")


def sniff(head: bytes) -> Container | None:
    """Say which container a file is whose first bytes are `head`; None when it is not a video.

    Pictures (GIF too), sound, playlists and text are not videos.
    """
    if head[4:8] in (b"ftyp", b"styp"):
        return _iso_media(head[8:12])
    if head[4:8] in _OLD_QUICKTIME and head[:1] < b"\x10":
        return _MOV
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _ebml(head)
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return _AVI
    if head.startswith((b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")):
        return _MPG
    if head.startswith(b"OggS"):
        return _OGV if any(mark in head for mark in _OGG_VIDEO) else None
    if head.startswith(b"FLV\x01"):
        return _FLV
    if head.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
        return _WMV
    return _TS if _is_transport_stream(head) else None


def sniff_picture(head: bytes) -> Container | None:
    """Say which kind of picture a file is whose first bytes are `head`; None for any other file."""
    if head.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _PNG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _WEBP
    return _GIF if head.startswith((b"GIF87a", b"GIF89a")) else None


@dataclass(frozen=True, slots=True)
class Medium:
    """What a file is expected to be."""

    name: str
    sniff: Callable[[bytes], Container | None]


VIDEO = Medium("video", sniff)
PICTURE = Medium("picture", sniff_picture)


def describe(head: bytes) -> str:
    """Say what a file that is no video looks like, without quoting any of it."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "empty"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML"
    if text.startswith((b"<?xml", b"<error", b"<svg", b"<mpd")):
        return "HTML" if b"<html" in text else "XML"
    if text.startswith((b"{", b"[")):
        return "JSON"
    if text.startswith(b"#extm3u"):
        return "a playlist"
    if head.startswith((b"GIF8", b"\x89PNG", b"\xff\xd8\xff")) or head[8:12] in (b"WEBP", b"heic", b"avif"):
        return "a picture"
    if head.startswith((b"ID3", b"OggS", b"fLaC")) or head[8:12] in (b"WAVE", b"M4A "):
        return "sound"
    if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")):
        return "compressed"
    return "text" if _is_text(head) else "unknown"


def _iso_media(brand: bytes) -> Container | None:
    if brand in _NO_VIDEO_BRANDS:
        return None
    if brand[:3] in (b"3gp", b"3ge", b"3gg"):
        return _3GP
    if brand[:3] == b"3g2":
        return _3G2
    return _BRANDS.get(brand, _MP4)


def _ebml(head: bytes) -> Container | None:
    """Read the DocType element (id 0x4282, RFC 8794, 11.2.7) of an EBML header."""
    at = head.find(b"\x42\x82")
    if at < 0 or at + 3 > len(head):
        return None
    length = head[at + 2] & 0x7F
    return {b"webm": _WEBM, b"matroska": _MKV}.get(head[at + 3 : at + 3 + length].rstrip(b"\0"))


def _is_transport_stream(head: bytes) -> bool:
    """Whether packets of 188 bytes begin with the sync byte, as far as can be seen."""
    return len(head) >= _TS_PACKET and all(byte == _TS_SYNC for byte in head[::_TS_PACKET])


def _is_text(head: bytes) -> bool:
    if head.translate(None, _CONTROLS) != head:
        return False
    try:
        # Incremental, because the cut may have split the last character.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True

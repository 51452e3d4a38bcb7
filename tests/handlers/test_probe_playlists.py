"""Playlists that pass for videos: `probe` follows none of them, to no other file and to no host."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from handlers import probe as module
from receiver.programs import run as run_program
from receiver.testing import Fail, run_async, sample_video
from tests.file_server import FileServer, serving_files
from tests.handlers.conftest import FFPROBE, context_of

pytestmark = pytest.mark.debian

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" type="static"
 mediaPresentationDuration="PT3S"><Period><AdaptationSet mimeType="video/mp4">
<Representation id="1" bandwidth="9" width="320" height="180"><BaseURL>{}</BaseURL></Representation>
</AdaptationSet></Period></MPD>
"""
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{}\nm=video 9 RTP/AVP 96\n"
PLAYLISTS = {
    "hls": HLS.format("{http}/segment.ts"),
    "hls of a list": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n{http}/list.m3u8\n",
    "hls with a key": HLS.replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="{{http}}/key"\n#EXTINF').format(
        "a.ts"
    ),
    "hls by tcp": HLS.format("{tcp}"),
    "subfile": HLS.format("subfile,,start,0,end,99,,:{http}/a.ts"),
    "concat protocol": HLS.format("concat:{file}|{http}/a.ts"),
    "concat": "ffconcat version 1.0\nfile {http}/a.mp4\n",
    "concat of files": "ffconcat version 1.0\nfile {file}\n",
    "dash": DASH.format("{http}/a.mp4"),
    "sdp": SDP.format("{http}"),
    "dash after the head of an mp4": "\0\0\0\x18ftypisom\0\0\2\0isommp41" + DASH.format("{http}/a.mp4"),
}
FOLLOWED = ("hls", "hls of a list", "hls with a key", "concat", "dash")
"""What ffprobe does follow when nothing keeps it from it."""
CARELESS = ("-protocol_whitelist", "file,http,tcp,crypto,subfile,concat")


def playlist(name: str, trap: FileServer, video: Path) -> Path:
    """Put a playlist that leads to a trap in the place of a saved video."""
    inner = video.with_name("inner.mp4")
    inner.write_bytes(sample_video())
    content = PLAYLISTS[name].replace("{http}", trap.base).replace("{file}", str(inner))
    video.write_bytes(content.replace("{tcp}", f"tcp://127.0.0.1:{trap.port}").encode("latin-1"))
    return video


@pytest.fixture
async def trap() -> AsyncIterator[FileServer]:
    """A server that nobody should come to."""
    async with serving_files() as server:
        yield server


@pytest.mark.fault("S12")
@pytest.mark.anyio
@pytest.mark.parametrize("tools", [("ffprobe", "ffmpeg"), ("ffmpeg",)])
@pytest.mark.parametrize("name", PLAYLISTS)
async def test_a_playlist_that_passes_for_a_video_is_not_followed(
    having: Callable[..., Path], video: Path, trap: FileServer, name: str, tools: tuple[str, ...]
) -> None:
    having(*tools)
    context = context_of(playlist(name, trap, video))
    outcome = await run_async(module, context.event, context)

    assert isinstance(outcome, Fail), outcome
    assert outcome.reason.startswith(f"{tools[0]} can't read Cells-vid.mp4: ")
    assert trap.connections == 0
    assert [path.name for path in video.parent.glob("*.jpg")] == []


@pytest.mark.fault("S12")
@pytest.mark.anyio
@pytest.mark.parametrize("name", FOLLOWED)
async def test_the_traps_are_real_without_care_ffprobe_walks_into_them(
    having: Callable[..., Path], video: Path, trap: FileServer, name: str
) -> None:
    having()
    path = str(playlist(name, trap, video))
    demuxer = name.split()[0]
    options = {"hls": ("-allowed_extensions", "ALL", "-f", "hls"), "concat": ("-safe", "0", "-f", "concat")}
    command = (str(FFPROBE), "-v", "error", *CARELESS, *options.get(demuxer, ()), "-i", path)
    await run_program(command, timeout_seconds=10, max_output=10**6, max_memory=2**31, joins_errors=True)

    assert trap.connections > 0


IN_A_NAMESPACE = """
import asyncio, fcntl, json, socket, struct, sys
from pathlib import Path
from handlers import probe as module
from receiver.programs import run as run_program
from receiver.testing import run_async
from tests.handlers.conftest import FFPROBE, context_of
from tests.handlers.test_probe_playlists import CARELESS

with socket.socket() as up:  # netdevice(7): SIOCSIFFLAGS, IFF_UP
    fcntl.ioctl(up, 0x8914, struct.pack("16sh22x", b"lo", 1))


def sent():
    rows = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines()]
    pairs = zip(rows[::2], rows[1::2])
    found = {name[0] + key: int(value) for name, values in pairs for key, value in zip(name[1:], values[1:])}
    return found["Tcp:ActiveOpens"] + found["Udp:OutDatagrams"]


async def main():
    path = Path(sys.argv[1])
    context = context_of(path)
    outcome = await run_async(module, context.event, context)
    ours = sent()
    command = (FFPROBE, "-v", "error", *CARELESS, "-allowed_extensions", "ALL", "-f", "hls", "-i", str(path))
    await run_program(command, timeout_seconds=10, max_output=10**6, max_memory=2**31, joins_errors=True)
    print(json.dumps([type(outcome).__name__, ours, sent() - ours]))

asyncio.run(main())
"""


@pytest.mark.fault("S12")
@pytest.mark.root
def test_in_a_network_of_its_own_the_kernel_counts_no_packet(video: Path) -> None:
    unshare = shutil.which("unshare")
    if (
        unshare is None
        or subprocess.run([unshare, "--net", "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs root, and a kernel that gives it a network namespace")
    if FFPROBE is None:
        pytest.skip("needs ffprobe (Debian package ffmpeg)")
    video.write_text(PLAYLISTS["hls"].replace("{http}", "http://127.0.0.1:9"))
    command = [unshare, "--net", sys.executable, "-c", IN_A_NAMESPACE, str(video)]
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    outcome, ours, careless = json.loads(ended.stdout)
    assert (outcome, ours) == ("Fail", 0)
    assert careless > 0

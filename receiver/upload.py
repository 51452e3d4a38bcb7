"""A file as the body of a request: sent piece by piece, so that its size costs no memory."""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO

from receiver.errors import Unfinished

_PIECE_BYTES = 256 * 1024


class Upload:
    """The bytes of a seekable file, from where it stands to its end, to be iterated over once.

    The file stays the caller's. Iteration raises Unfinished when it becomes shorter.
    """

    def __init__(self, file: BinaryIO) -> None:
        start = file.tell()
        self.length = file.seek(0, os.SEEK_END) - start
        """How many bytes it has, as Content-Length says."""
        file.seek(start)
        self._file = file
        self._left = self.length

    def __aiter__(self) -> Upload:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        piece = await asyncio.to_thread(self._file.read, min(self._left, _PIECE_BYTES))
        if not piece:
            raise Unfinished("the file became shorter while it was being sent")
        self._left -= len(piece)
        return piece

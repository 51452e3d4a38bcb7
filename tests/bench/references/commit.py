"""What many would write: FastAPI, headers compared, a row of SQLite committed (WAL, FULL) for each request.

The commit is made right in the event loop, as that is faster here than in a thread: nothing else is to do.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tests.bench.callbacks import KEY, ORGANIZATION, PATH

_database = sqlite3.connect(os.environ["BENCH_DATABASE"], isolation_level=None)
_database.execute("PRAGMA journal_mode = WAL")
_database.execute("PRAGMA synchronous = FULL")
_database.execute("CREATE TABLE events (id TEXT PRIMARY KEY, body BLOB NOT NULL)")


async def _take(request: Request) -> Any:
    headers = request.headers
    if headers.get("x-api-key") != KEY or headers.get("x-organization-id") != ORGANIZATION:
        return JSONResponse({"error": "unauthorized"}, status_code=401)
    news = await request.json()
    row = (news["video_id"], await request.body())
    _database.execute("INSERT OR IGNORE INTO events VALUES (?, ?)", row)
    return {"status": "accepted"}


app = FastAPI()
app.add_api_route(PATH, _take, methods=["POST"], response_model=None)

"""The check that the provider's guide shows, in a Flask route: compare headers, read JSON, store nothing."""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from tests.bench.callbacks import KEY, ORGANIZATION, PATH

_EXPECTED = {
    "X-Webhook-Platform": "opennote-api",
    "X-Origin": "https://video.api.opennote.com",
    "X-Organization-Id": ORGANIZATION,
    "X-API-Key": KEY,
}


def _take() -> tuple[dict[str, Any], int]:
    if any(request.headers.get(name) != value for name, value in _EXPECTED.items()):
        return {"error": "unauthorized"}, 401
    news = request.get_json()
    return {"status": "accepted", "video": news["video_id"]}, 200


app = Flask(__name__)
app.add_url_rule(PATH, view_func=_take, methods=["POST"])

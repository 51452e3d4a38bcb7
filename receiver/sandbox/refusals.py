"""What the OpenAI-style APIs refuse, and the error object that says so."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receiver.errors import Refused
from receiver.sandbox.turnstile import WAIT, Turned


class Refusal(Refused):
    """A request that is answered with an error object; the message says what to change.

    As with the providers it may repeat what was sent, but never a key.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": kind, "param": param, "code": code}
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Write the answer."""
        return JSONResponse({"error": self.error}, self.status, self.headers)


def missing(param: str) -> Refusal:
    """Refuse a request without a field that it needs."""
    return Refusal(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def wrong_type(param: str, expected: str, found: object) -> Refusal:
    """Refuse a field with a value of another type, for example `expected` "a string"."""
    text = f"Invalid type for '{param}': expected {expected}, but got {_in_words(found)} instead."
    return Refusal(text, param=param, code="invalid_type")


def wrong_value(param: str, message: str, *, code: str = "invalid_value") -> Refusal:
    """Refuse a field whose type is right."""
    return Refusal(message, param=param, code=code)


def no_such_video(video_id: str) -> Refusal:
    """Refuse to speak of a video that is not there."""
    return Refusal(f"Video with id '{video_id}' not found.", status=404, param="video_id", code="not_found")


def unauthorized(*, is_given: bool) -> Refusal:
    """Refuse a request with a wrong key, or with none."""
    if is_given:
        return Refusal("Incorrect API key provided.", status=401, code="invalid_api_key")
    return Refusal("You didn't provide an API key: send it as Authorization: Bearer KEY.", status=401)


def turned_away(why: Turned) -> Refusal:
    """Refuse a request that is turned away on purpose."""
    if why is Turned.THROTTLED:
        text = "Rate limit reached: try again in a second."
        return Refusal(text, status=429, kind="requests", code="rate_limit_exceeded", headers=WAIT)
    text = "The server had an error while processing your request."
    return Refusal(text, status=500, kind="server_error", code="server_error")


async def not_served(request: Request, error: Exception) -> Response:
    """Answer a request for which there is no route, or not with this method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    text = f"Invalid URL ({request.method} {request.url.path})" if status == 404 else "Method not allowed."
    return Refusal(text, status=status, headers=headers).response()


def _in_words(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a file")

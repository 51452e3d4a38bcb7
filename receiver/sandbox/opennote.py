"""A stand-in for Opennote's video API: create, status, and the callback with its four headers.

Not published by Opennote and so our own choice: the answer for an unknown video (404 in the
shape of its other errors), texts, costs, and that a callback is repeated.
"""

from __future__ import annotations

import asyncio
import base64
import json
import textwrap
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from receiver.sandbox.backstage import Backstage
from receiver.sandbox.callbacks import Message
from receiver.sandbox.files import key_url
from receiver.sandbox.jobs import JobStatus, Order, Provider, VideoJob
from receiver.sandbox.keys import bearer_key, is_let_in
from receiver.sandbox.loopback import problem_with
from receiver.sandbox.turnstile import WAIT, Turned

_ORIGIN = "https://video.api.opennote.com"
_PLATFORM = "opennote-api"
_UNAUTHORIZED = {
    "error": "Invalid API key or unauthorized access",
    "message": "API key is missing or invalid",
}


def _reachable(url: str) -> str:
    if problem := problem_with(url):
        raise ValueError(f"the URL {problem}")
    return url


class ChatMessage(BaseModel):
    """One turn of the conversation that a video is made from."""

    role: Literal["user", "assistant", "system"]
    content: str


class CreateVideo(BaseModel):
    """The body of `POST /v1/video/create` with the documented limits; unknown fields are ignored."""

    model: Literal["picasso"] | None = "picasso"
    messages: list[ChatMessage] | None = None
    script: str | None = Field(None, max_length=6000)
    title: str | None = ""
    length: Annotated[int, Field(ge=1, le=5)] | None = 3
    include_sources: bool | None = False
    search_for: str | None = Field(None, max_length=100)
    source_count: Annotated[int, Field(ge=1, le=5)] | None = 3
    upload_to_s3: bool | None = False
    webhook_url: Annotated[str, AfterValidator(_reachable)] | None = None

    @model_validator(mode="after")
    def _has_content(self) -> CreateVideo:
        if not self.messages and not (self.script or "").strip():
            raise ValueError("messages or a script are required")
        return self

    def order(self) -> Order:
        """Say it in the sandbox's own terms."""
        script = (self.script or "").strip()
        subject = script or (self.messages or [])[-1].content
        narration = [f"Part {n}: {subject}" for n in range(1, (self.length or 3) + 1)]
        parts = script.split("-----") if script else narration
        return Order(
            title=self.title or textwrap.shorten(subject, 60, placeholder="…") or "Untitled",
            transcript="\n\n".join(part.strip() for part in parts),
            model=self.model or "picasso",
            webhook_url=self.webhook_url,
            inline=not self.upload_to_s3,
            source_count=(self.source_count or 3) if self.include_sources else 0,
        )


class OpennoteApi:
    """The two endpoints, for whoever shows one of the keys that are let in."""

    def __init__(self, backstage: Backstage) -> None:
        self._backstage = backstage
        self._options = backstage.options
        self._jobs = backstage.jobs

    def routes(self) -> list[Route]:
        """Give the routes, with the paths that the published SDK calls."""
        return [
            Route("/v1/video/create", self._create, methods=["POST"]),
            Route("/v1/video/status/{video_id}", self._status, methods=["GET"]),
            Route("/v1/health", _health, methods=["GET"]),
        ]

    async def _create(self, request: Request) -> Response:
        key = self._key(request)
        if key is None:
            return JSONResponse(_UNAUTHORIZED, 401)
        if why := self._backstage.turnstile.turn_away():
            return _turned_away(why)
        try:
            asked = CreateVideo.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"detail": _problems(error)}, 422)
        job = self._jobs.create(asked.order(), api_key=key)
        told = {"video_id": job.id, "title": job.order.title, "webhook_url": job.order.webhook_url}
        self._backstage.tell("job.created", told)
        self._backstage.runner.start(job, compose=self.callbacks)
        return JSONResponse({"success": True, "message": "The video is being made.", "video_id": job.id})

    async def _status(self, request: Request) -> Response:
        if self._key(request) is None:
            return JSONResponse(_UNAUTHORIZED, 401)
        if why := self._backstage.turnstile.turn_away():
            return _turned_away(why)
        job = self._jobs.find(request.path_params["video_id"], provider=Provider.OPENNOTE)
        if job is None:
            return JSONResponse({"error": "Video not found", "message": "No video has this id."}, 404)
        return JSONResponse(await self.status_of(job))

    def _key(self, request: Request) -> str | None:
        key = bearer_key(request)
        return key if key is not None and is_let_in(key, self._options.api_keys) else None

    async def status_of(self, job: VideoJob) -> dict[str, object]:
        """Write the status answer, which is the callback's body too."""
        progress = job.progress(self._jobs.now())
        answer: dict[str, object] = {
            "success": job.status is not JobStatus.FAILED,
            "status": job.status.value,
            "message": f"The video is {job.status}.",
            # The SDK's model has the one name, the provider's guide the other.
            "completion_percentage": progress,
            "progress": progress,
            "video_id": job.id,
        }
        if job.status is JobStatus.COMPLETED:
            answer["response"] = await self._response(job)
        elif job.status is JobStatus.FAILED:
            answer["error"] = job.error
        return answer

    async def _response(self, job: VideoJob) -> dict[str, object]:
        order = job.order
        return {
            "success": True,
            **await self._video(job),
            "title": order.title,
            "transcript": order.transcript,
            "sources": [_source(order, number) for number in range(1, order.source_count + 1)],
            "cost": round(0.5 + len(order.transcript) / 10000 + 0.05 * order.source_count, 4),
            "model": order.model,
            "timestamp": job.finished_at.isoformat() if job.finished_at else None,
        }

    async def _video(self, job: VideoJob) -> dict[str, object]:
        if job.order.inline and job.video:
            return {"b64_video": await asyncio.to_thread(_base64, job.video.path)}
        return {"s3_url": key_url(self._options.base_url, job)}

    async def callbacks(self, job: VideoJob) -> list[Message]:
        """Write the callback of a finished job; none when it was created without `webhook_url`."""
        url = job.order.webhook_url
        if url is None:
            return []
        messages = [self._message(job, url, await self.status_of(job))]
        if self._backstage.luck.strikes("unknown_status", job):
            odd: dict[str, object] = {"success": True, "status": "archived", "video_id": job.id}
            messages.insert(0, self._message(job, url, odd))
        return messages

    def _message(self, job: VideoJob, url: str, status: dict[str, object]) -> Message:
        headers = {
            "Content-Type": "application/json",
            "X-Request-Id": job.id,
            "X-Webhook-Platform": _PLATFORM,
            "X-Origin": _ORIGIN,
            "X-Organization-Id": self._options.organization_id,
        }
        return Message(
            url,
            headers,
            json.dumps(status).encode(),
            credentials=lambda _: {"X-API-Key": job.api_key},
            forged=lambda _: {"X-API-Key": f"not-{job.api_key}"},
        )


def _turned_away(why: Turned) -> Response:
    if why is Turned.THROTTLED:
        said = {"error": "Rate limit exceeded", "message": "Too many requests: try again in a second."}
        return JSONResponse(said, 429, WAIT)
    said = {"error": "Internal server error", "message": "Something went wrong.", "video_id": ""}
    return JSONResponse(said, 500)


async def _health(_: Request) -> Response:
    return PlainTextResponse("OK")


def _problems(error: ValidationError) -> list[dict[str, object]]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"loc": ["body", *one["loc"]], "msg": one["msg"], "type": one["type"]} for one in found]


def _source(order: Order, number: int) -> dict[str, str]:
    content = f"Source {number} about: {order.title}"
    return {"url": f"https://example.org/sources/{number}", "content": content}


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()

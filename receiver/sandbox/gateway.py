"""An OpenAI-style videos API over HTTP, in the manner of OpenAI or of a gateway that imitates it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.sandbox import compatible, openai
from receiver.sandbox.backstage import Backstage
from receiver.sandbox.callbacks import Message
from receiver.sandbox.files import Serving, send
from receiver.sandbox.forms import read_fields
from receiver.sandbox.hooks import thin_events
from receiver.sandbox.jobs import JobStatus, Order, Provider, VideoJob
from receiver.sandbox.keys import bearer_key, is_let_in
from receiver.sandbox.refusals import Refusal, no_such_video, turned_away, unauthorized, wrong_value

_DEFAULT_LIMIT = 20
_LARGEST_LIMIT = 100
_UNKNOWN_STATUS = "pondering"
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Manner:
    """How one provider speaks the common API."""

    provider: Provider
    prefix: str
    """What stands between the base URL and `/videos`."""
    read_order: Callable[[Mapping[str, object]], Order]
    show: Callable[[VideoJob, datetime], dict[str, object]]
    """Writes the video object."""
    is_whole: bool
    """Whether videos can be listed, deleted and remixed, and events are sent."""
    says_expired: bool
    """Whether that the content has expired is a status."""


OPENAI = Manner(Provider.OPENAI, "/v1", openai.read_order, openai.show, is_whole=True, says_expired=False)
COMPATIBLE = Manner(
    Provider.COMPATIBLE,
    "/compatible/v1",
    compatible.read_order,
    compatible.show,
    is_whole=False,
    says_expired=True,
)


class VideosApi:
    """The endpoints, for whoever shows one of the keys that are let in."""

    def __init__(self, manner: Manner, backstage: Backstage) -> None:
        self._manner = manner
        self._backstage = backstage
        self._jobs = backstage.jobs
        self._luck = backstage.luck

    def routes(self) -> list[Route]:
        """Give the routes, with the paths that the published packages call."""
        every, one = f"{self._manner.prefix}/videos", f"{self._manner.prefix}/videos/{{video_id}}"
        routes = [
            Route(every, self._answering(self._create), methods=["POST"]),
            Route(one, self._answering(self._retrieve), methods=["GET"]),
            Route(f"{one}/content", self._answering(self._content), methods=["GET"]),
        ]
        if self._manner.is_whole:
            routes += [
                Route(every, self._answering(self._list), methods=["GET"]),
                Route(one, self._answering(self._delete), methods=["DELETE"]),
                Route(f"{one}/remix", self._answering(self._remix), methods=["POST"]),
            ]
        return routes

    def _answering(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            try:
                self._let_in(request)
                if why := self._backstage.turnstile.turn_away():
                    raise turned_away(why)
                response = await handler(request)
            except Refusal as refusal:
                response = refusal.response()
            response.headers["x-request-id"] = f"req_{self._backstage.new_id()}"
            return response

        return answer

    def _let_in(self, request: Request) -> str:
        key = bearer_key(request)
        if key is None or not is_let_in(key, self._backstage.options.api_keys):
            raise unauthorized(is_given=key is not None)
        return key

    async def _create(self, request: Request) -> Response:
        order = self._manner.read_order(await read_fields(request))
        if order.remixed_from is not None:
            self._completed(order.remixed_from)
        return self._begin(request, order)

    def _begin(self, request: Request, order: Order) -> Response:
        if self._manner.is_whole:
            order = replace(order, webhook_url=self._backstage.endpoint.url)
        job = self._jobs.create(
            order,
            api_key=self._let_in(request),
            provider=self._manner.provider,
            job_id=f"video_{self._backstage.new_id()}",
        )
        told = {"video_id": job.id, "title": job.order.title, "webhook_url": job.order.webhook_url}
        self._backstage.tell("job.created", told)
        self._backstage.runner.start(job, compose=self._events)
        # However fast it will be, at first it waits.
        return JSONResponse(self._shown(job) | {"status": "queued", "progress": 0})

    async def _events(self, job: VideoJob) -> list[Message]:
        return thin_events(
            job,
            endpoint=self._backstage.endpoint,
            luck=self._luck,
            new_id=self._backstage.new_id,
            now=self._jobs.now(),
        )

    async def _retrieve(self, request: Request) -> Response:
        job, after = self._found(request), self._backstage.options.poll_after_ms
        shown, is_first = self._shown(job), job.polls == 0
        job.polls += 1
        # Whoever is called back is told by a callback.
        if is_first and job.order.webhook_url is None and self._luck.strikes("unknown_status", job):
            shown["status"] = _UNKNOWN_STATUS
        headers = None if after is None else {"openai-poll-after-ms": str(after)}
        return JSONResponse(shown, headers=headers)

    async def _list(self, request: Request) -> Response:
        limit, is_ascending = _limit(request), _is_ascending(request)
        jobs = [job for job in self._jobs if job.provider is self._manner.provider]
        if not is_ascending:
            jobs.reverse()
        after = request.query_params.get("after")
        if after is not None:
            # A cursor may name a video that was deleted since.
            ids = [job.id for job in jobs]
            if after not in ids:
                raise no_such_video(after)
            jobs = jobs[ids.index(after) + 1 :]
        jobs = [job for job in jobs if not job.is_deleted]
        page = jobs[:limit]
        listed = {
            "object": "list",
            "data": [self._shown(job) for job in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": len(jobs) > limit,
        }
        return JSONResponse(listed)

    async def _delete(self, request: Request) -> Response:
        job = self._found(request)
        if job.status is JobStatus.PENDING:
            raise Refusal("Only a video that has completed or failed can be deleted.", code="video_not_ready")
        job.is_deleted = True
        self._backstage.tell("job.deleted", {"video_id": job.id, "title": job.order.title})
        return JSONResponse({"id": job.id, "object": "video.deleted", "deleted": True})

    async def _remix(self, request: Request) -> Response:
        source = self._completed(self._found(request).id)
        return self._begin(request, openai.read_remix(await read_fields(request), source))

    async def _content(self, request: Request) -> Response:
        job = self._found(request)
        if job.status is JobStatus.FAILED:
            raise Refusal("The video has failed: it has no content.", status=404, code="video_failed")
        if job.status is JobStatus.PENDING:
            text = "The video is not ready yet: ask for its status until it is completed."
            raise Refusal(text, status=404, code="video_not_ready")
        variant = request.query_params.get("variant", "video")
        if variant not in job.files:
            listed = ", ".join(f"'{one}'" for one in job.files)
            raise wrong_value("variant", f"Invalid value: '{variant}'. Supported values are: {listed}.")
        self._refuse_expired(job)
        if self._luck.strikes("missing", job):
            raise Refusal("The video has no content.", status=404, code="not_found")
        serving = Serving.drawn(job, self._luck, refuse_range=_refuse_range)
        return await send(request, job.files[variant], serving)

    def _refuse_expired(self, job: VideoJob) -> None:
        if self._is_expired(job):
            self._luck.strikes("expired", job)
            text = "The content of this video has expired: it can be downloaded until its 'expires_at'."
            raise Refusal(text, status=404, code="video_expired")

    def _is_expired(self, job: VideoJob) -> bool:
        expires_at = job.expires_at
        is_over = expires_at is not None and self._jobs.now() >= expires_at
        return is_over or (expires_at is not None and self._luck.foresees("expired", job))

    def _shown(self, job: VideoJob) -> dict[str, object]:
        shown = self._manner.show(job, self._jobs.now())
        if self._manner.says_expired and self._is_expired(job):
            shown["status"] = "expired"
        return shown

    def _found(self, request: Request) -> VideoJob:
        return self._known(request.path_params["video_id"])

    def _known(self, video_id: str) -> VideoJob:
        job = self._jobs.find(video_id, provider=self._manner.provider)
        if job is None:
            raise no_such_video(video_id)
        return job

    def _completed(self, video_id: str) -> VideoJob:
        job = self._known(video_id)
        if job.status is not JobStatus.COMPLETED:
            raise Refusal("Only a completed video can be remixed.", code="video_not_ready")
        return job


def _refuse_range(size: int) -> Response:
    headers = {"Content-Range": f"bytes */{size}"}
    return Refusal("The range does not lie within the content.", status=416, headers=headers).response()


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(_DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _LARGEST_LIMIT):
        raise wrong_value("limit", f"Invalid value: 'limit' is an integer from 1 to {_LARGEST_LIMIT}.")
    return int(text)


def _is_ascending(request: Request) -> bool:
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise wrong_value("order", f"Invalid value: '{order}'. Supported values are: 'asc', 'desc'.")
    return order == "asc"

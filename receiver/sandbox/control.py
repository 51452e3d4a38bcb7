"""What only the sandbox has, under `/_sandbox`: a look at the jobs, their callbacks and the files it made,
and what goes wrong on purpose.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.errors import UsageError
from receiver.sandbox.files import Serving, key_url, send
from receiver.sandbox.hooks import Endpoint
from receiver.sandbox.jobs import CallbackTry, Provider, VideoJob, VideoJobs
from receiver.sandbox.mischief import Luck, Mischief


def routes(jobs: VideoJobs, *, endpoint: Endpoint, luck: Luck, base_url: str) -> list[Route]:
    """List the jobs as JSON, oldest first, and serve each completed file to compare with what arrived.

    `misbehave` shows and changes how often things go wrong with the videos that are asked for from
    then on: POST changes what it names, PUT the rest to its default, too. `counts` says what went wrong.
    `webhook` shows and changes where OpenAI's events go: `url` (or null) and, to change them, `secrets`.
    """

    async def list_jobs(_: Request) -> Response:
        return JSONResponse([_seen(job, base_url) for job in jobs])

    async def get_video(request: Request) -> Response:
        job = jobs.find(request.path_params["video_id"])
        file = job.files.get(request.query_params.get("variant", "video")) if job else None
        if job is None or file is None:
            return JSONResponse({"error": "there is no such video, or not yet"}, 404)
        return await send(request, file, Serving(job.finished_at or job.created_at))

    async def misbehave(request: Request) -> Response:
        former = Mischief() if request.method == "PUT" else jobs.behaviour.mischief
        try:
            if request.method in ("POST", "PUT"):
                mischief = _changed(former, json.loads(await request.body()))
                jobs.behaviour = replace(jobs.behaviour, mischief=mischief)
        except (ValueError, UsageError) as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(asdict(jobs.behaviour.mischief))

    async def webhook(request: Request) -> Response:
        try:
            if request.method == "POST":
                wanted = _Webhook.model_validate_json(await request.body())
                secrets = endpoint.secrets if wanted.secrets is None else wanted.secrets
                endpoint.change(wanted.url, secrets)
        except (ValueError, UsageError) as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"url": endpoint.url, "secrets": len(endpoint.secrets)})

    async def count(_: Request) -> Response:
        return JSONResponse(luck.counts)

    return [
        Route("/_sandbox/misbehave", misbehave, methods=["GET", "POST", "PUT"]),
        Route("/_sandbox/webhook", webhook, methods=["GET", "POST"]),
        Route("/_sandbox/counts", count, methods=["GET"]),
        Route("/_sandbox/jobs", list_jobs, methods=["GET"]),
        Route("/_sandbox/videos/{video_id}", get_video, methods=["GET", "HEAD"]),
    ]


class _Webhook(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    url: str | None
    secrets: list[str] | None = None


def _changed(former: Mischief, wanted: Any) -> Mischief:
    """Change what is named. Raise UsageError for what is no object of known names and possible values."""
    known = [one.name for one in fields(Mischief)]
    if not isinstance(wanted, dict) or not wanted.keys() <= set(known):
        raise UsageError(f"say it as a JSON object with some of the names {', '.join(known)}")
    return replace(former, **wanted)


def _seen(job: VideoJob, base_url: str) -> dict[str, object]:
    is_opennote = job.provider is Provider.OPENNOTE
    has_link = job.video is not None and not job.order.inline and is_opennote
    return {
        "video_id": job.id,
        "provider": job.provider.value,
        "status": job.status.value,
        "is_over": job.is_over,
        "title": job.order.title,
        "created_at": job.created_at.isoformat(),
        "expires_at": None if job.expires_at is None or is_opennote else job.expires_at.isoformat(),
        "inline": job.order.inline,
        "s3_url": key_url(base_url, job) if has_link else None,
        "sha256": job.video.sha256 if job.video else None,
        "bytes": job.video.bytes if job.video else None,
        "files": {
            variant: {"sha256": file.sha256, "bytes": file.bytes, "type": file.media_type}
            for variant, file in job.files.items()
        },
        "is_deleted": job.is_deleted,
        "remixed_from": job.order.remixed_from,
        "webhook_url": job.order.webhook_url,
        "callbacks": [_try(one) for one in job.callbacks],
    }


def _try(one: CallbackTry) -> dict[str, object]:
    ending = {"error": one.error} if one.status is None else {"status": one.status}
    return {"at": one.at.isoformat(), **ending, **({"answer": one.answer} if one.answer else {})}

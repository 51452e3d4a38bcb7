"""What only the sandbox has, under `/_sandbox`: a look at the jobs, their callbacks and the files it made,
and what goes wrong on purpose.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.errors import UsageError
from receiver.sandbox.files import key_url, send
from receiver.sandbox.jobs import CallbackTry, VideoJob, VideoJobs
from receiver.sandbox.mischief import Luck, Mischief


def routes(jobs: VideoJobs, *, luck: Luck, base_url: str) -> list[Route]:
    """List the jobs as JSON, oldest first, and serve each completed file to compare with what arrived.

    `misbehave` shows and changes how often things go wrong with the videos that are asked for from
    then on: POST changes what it names, PUT the rest to its default, too. `counts` says what went wrong.
    """

    async def list_jobs(_: Request) -> Response:
        return JSONResponse([_seen(job, base_url) for job in jobs])

    async def get_video(request: Request) -> Response:
        job = jobs.find(request.path_params["video_id"])
        if job is None or job.video is None:
            return JSONResponse({"error": "there is no such video, or not yet"}, 404)
        return await send(request, job)

    async def misbehave(request: Request) -> Response:
        former = Mischief() if request.method == "PUT" else jobs.behaviour.mischief
        try:
            if request.method in ("POST", "PUT"):
                mischief = _changed(former, json.loads(await request.body()))
                jobs.behaviour = replace(jobs.behaviour, mischief=mischief)
        except (ValueError, UsageError) as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(asdict(jobs.behaviour.mischief))

    async def count(_: Request) -> Response:
        return JSONResponse(luck.counts)

    return [
        Route("/_sandbox/misbehave", misbehave, methods=["GET", "POST", "PUT"]),
        Route("/_sandbox/counts", count, methods=["GET"]),
        Route("/_sandbox/jobs", list_jobs, methods=["GET"]),
        Route("/_sandbox/videos/{video_id}", get_video, methods=["GET", "HEAD"]),
    ]


def _changed(former: Mischief, wanted: Any) -> Mischief:
    """Change what is named. Raise UsageError for what is no object of known names and possible values."""
    known = [one.name for one in fields(Mischief)]
    if not isinstance(wanted, dict) or not wanted.keys() <= set(known):
        raise UsageError(f"say it as a JSON object with some of the names {', '.join(known)}")
    return replace(former, **wanted)


def _seen(job: VideoJob, base_url: str) -> dict[str, object]:
    has_link = job.video is not None and not job.order.inline
    return {
        "video_id": job.id,
        "status": job.status.value,
        "is_over": job.is_over,
        "title": job.order.title,
        "created_at": job.created_at.isoformat(),
        "inline": job.order.inline,
        "s3_url": key_url(base_url, job) if has_link else None,
        "sha256": job.video.sha256 if job.video else None,
        "bytes": job.video.bytes if job.video else None,
        "webhook_url": job.order.webhook_url,
        "callbacks": [_try(one) for one in job.callbacks],
    }


def _try(one: CallbackTry) -> dict[str, object]:
    ending = {"error": one.error} if one.status is None else {"status": one.status}
    return {"at": one.at.isoformat(), **ending, **({"answer": one.answer} if one.answer else {})}

"""What only the sandbox has, under `/_sandbox`: a look at the jobs, their callbacks and the files it made."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.sandbox.files import key_url, send
from receiver.sandbox.jobs import CallbackTry, VideoJob, VideoJobs


def routes(jobs: VideoJobs, *, base_url: str) -> list[Route]:
    """List the jobs as JSON, oldest first, and serve each completed file to compare with what arrived."""

    async def list_jobs(_: Request) -> Response:
        return JSONResponse([_seen(job, base_url) for job in jobs])

    async def get_video(request: Request) -> Response:
        job = jobs.find(request.path_params["video_id"])
        if job is None or job.video is None:
            return JSONResponse({"error": "there is no such video, or not yet"}, 404)
        return await send(request, job)

    return [
        Route("/_sandbox/jobs", list_jobs, methods=["GET"]),
        Route("/_sandbox/videos/{video_id}", get_video, methods=["GET", "HEAD"]),
    ]


def _seen(job: VideoJob, base_url: str) -> dict[str, object]:
    has_link = job.video is not None and not job.order.inline
    return {
        "video_id": job.id,
        "status": job.status.value,
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
    return {"at": one.at.isoformat(), **ending}

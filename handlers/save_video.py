"""Save every finished video to disk, with a JSON file beside it that says what it is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from receiver import Context, Event, Router, Saved


class Settings(BaseModel):
    """`[handlers.save_video]`"""

    directory: str = Field("videos", description="Where videos go, relative to the configuration file.")
    template: Annotated[str, AfterValidator(Context.check_template)] = Field(
        "{title}-{id}", description="File name: id, title, event, source, model, date."
    )


router = Router(settings=Settings)


# An hour: a large file over a slow line is no reason to give up and begin again.
@router.on("video.completed", timeout="1h")
async def save_video(event: Event, context: Context) -> dict[str, Any]:
    """Save the video and its description."""
    settings: Settings = context.settings
    saved = await context.save_video(settings.template, directory=settings.directory)
    await context.save_json(saved.path.stem, describe(event, saved), directory=settings.directory)
    return {"path": str(saved.path), "bytes": saved.bytes, "sha256": saved.sha256}


def describe(event: Event, saved: Saved) -> dict[str, Any]:
    """Say what a saved file is, in the form of the JSON file beside it."""
    video = event.video
    return {
        "file": saved.path.name,
        "bytes": saved.bytes,
        "sha256": saved.sha256,
        "title": video.title,
        "transcript": video.transcript,
        "sources": [source.model_dump() for source in video.sources],
        "cost": video.cost,
        "model": video.model,
        "event": event.id,
        "video": video.id,
        "source": event.source,
        "received_at": event.received_at.isoformat(),
    }

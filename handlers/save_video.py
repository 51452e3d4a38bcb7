"""Save every finished video to disk, with a JSON file beside it that says what it is.

Where the settings ask for more than the video, pictures of it are saved by a handler of their own, so that
one that can't be had is no fault of the video's.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from receiver import Cancel, Context, Event, Router, Saved

Variant = Literal["video", "thumbnail", "spritesheet"]


def _with_video(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    if "video" not in variants:
        raise ValueError('must hold "video": the pictures stand beside it')
    return variants


class Settings(BaseModel):
    """`[handlers.save_video]`"""

    directory: str = Field("videos", description="Where videos go, relative to the configuration file.")
    template: Annotated[str, AfterValidator(Context.check_template)] = Field(
        "{title}-{id}", description="File name: id, title, event, source, model, date."
    )
    variants: Annotated[tuple[Variant, ...], AfterValidator(_with_video)] = Field(
        ("video",), description="What is kept: video, thumbnail, spritesheet, where a source has them."
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


@router.from_settings
def with_pictures(configured: Router, settings: Settings) -> None:
    """Declare `save_video.pictures`, where more than the video is wanted."""
    wanted = tuple(variant for variant in dict.fromkeys(settings.variants) if variant != "video")
    if not wanted:
        return

    async def pictures(event: Event, context: Context) -> dict[str, Any]:
        """Save the pictures of the video that the settings ask for."""
        return {variant: await _keep(variant, context) for variant in _had(wanted, context)}

    configured.on("video.completed", after="save_video", name="pictures")(pictures)


def _had(wanted: tuple[str, ...], context: Context) -> list[str]:
    had = [variant for variant in wanted if variant in context.variants]
    if not had:
        raise Cancel(f"this source has no {' and no '.join(wanted)}")
    return had


async def _keep(variant: str, context: Context) -> dict[str, Any]:
    settings: Settings = context.settings
    saved = await context.save_video(settings.template, directory=settings.directory, variant=variant)
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

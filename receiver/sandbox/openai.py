"""OpenAI's own manner of an OpenAI-style API: what may be asked for, and how a video is shown.

Not published and so our own choice: the words of refusals, and when a video is no longer queued.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime

from receiver.sandbox.forms import Upload
from receiver.sandbox.jobs import JobStatus, Order, VideoJob
from receiver.sandbox.refusals import Refusal, missing, wrong_type, wrong_value

MODELS = ("sora-2", "sora-2-pro", "sora-2-2025-10-06", "sora-2-pro-2025-10-06", "sora-2-2025-12-08")
SECONDS = ("4", "8", "12")
SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024")
IMAGES = ("image/jpeg", "image/png", "image/webp")
_LONGEST_PROMPT = 32_000
_KNOWN = ("prompt", "input_reference", "model", "seconds", "size")
_QUEUED_PERCENT = 10


def read_order(fields: Mapping[str, object]) -> Order:
    """Read what a client asks for. Raise Refusal for what is beyond the documented limits."""
    refuse_unknown(fields, _KNOWN)
    prompt = read_prompt(fields)
    order = Order(
        title=title_of(prompt),
        transcript=prompt,
        model=_choice(fields, "model", MODELS),
        seconds=_choice(fields, "seconds", SECONDS),
        size=_choice(fields, "size", SIZES),
    )
    _check_reference(fields.get("input_reference"))
    return order


def read_remix(fields: Mapping[str, object], source: VideoJob) -> Order:
    """Read the one thing that a remix may change; the rest is as it was in its source."""
    refuse_unknown(fields, ("prompt",))
    prompt, former = read_prompt(fields), source.order
    return Order(
        title=title_of(prompt),
        transcript=prompt,
        model=former.model,
        seconds=former.seconds,
        size=former.size,
        remixed_from=source.id,
    )


def show(job: VideoJob, now: datetime) -> dict[str, object]:
    """Write the video object."""
    status = job.status.value
    progress = int(job.progress(now))
    if job.status is JobStatus.PENDING:
        status = "queued" if progress < _QUEUED_PERCENT else "in_progress"
    is_completed = job.status is JobStatus.COMPLETED
    return {
        "id": job.id,
        "object": "video",
        "created_at": int(job.created_at.timestamp()),
        "completed_at": seconds_of(job.finished_at) if is_completed else None,
        "expires_at": seconds_of(job.expires_at),
        "status": status,
        "progress": progress if status != "queued" else 0,
        "prompt": job.order.transcript,
        "model": job.order.model,
        "seconds": job.order.seconds,
        "size": job.order.size,
        "remixed_from_video_id": job.order.remixed_from,
        "error": error_of(job),
    }


def seconds_of(moment: datetime | None) -> int | None:
    """Write a time as these APIs do."""
    return None if moment is None else int(moment.timestamp())


def error_of(job: VideoJob) -> dict[str, str] | None:
    """Say why a video failed."""
    return None if job.error is None else {"code": "internal_error", "message": job.error}


def title_of(prompt: str) -> str:
    """Make the name that the sandbox has for a video."""
    return textwrap.shorten(prompt, 60, placeholder="…") or "Untitled"


def refuse_unknown(fields: Mapping[str, object], known: Sequence[str]) -> None:
    """Raise Refusal for the first field that is none of these."""
    for name in fields:
        if name not in known:
            raise Refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def read_prompt(fields: Mapping[str, object]) -> str:
    """Read the prompt: 1 to 32,000 characters."""
    prompt = fields.get("prompt")
    if prompt is None:
        raise missing("prompt")
    if not isinstance(prompt, str):
        raise wrong_type("prompt", "a string", prompt)
    if not prompt:
        text = "Invalid 'prompt': expected a string with minimum length 1, but got an empty string instead."
        raise wrong_value("prompt", text, code="empty_string")
    if len(prompt) > _LONGEST_PROMPT:
        most = f"a string with maximum length {_LONGEST_PROMPT}"
        text = f"Invalid 'prompt': expected {most}, but got one with length {len(prompt)} instead."
        raise wrong_value("prompt", text, code="string_above_max_length")
    return prompt


def _choice(fields: Mapping[str, object], name: str, choices: Sequence[str]) -> str:
    value = fields.get(name)
    if value is None:
        return choices[0]
    listed = ", ".join(f"'{one}'" for one in choices)
    if not isinstance(value, str):
        raise wrong_type(name, f"one of {listed}", value)
    if value not in choices:
        raise wrong_value(name, f"Invalid value: '{value}'. Supported values are: {listed}.")
    return value


def _check_reference(reference: object) -> None:
    if isinstance(reference, Mapping):
        _check_named(reference)
    elif isinstance(reference, Upload):
        check_image(reference)
    elif reference is not None:
        raise wrong_type("input_reference", "a file or an object", reference)


def _check_named(reference: Mapping[str, object]) -> None:
    names = ("image_url", "file_id")
    refuse_unknown({f"input_reference.{key}": None for key in reference if key not in names}, ())
    given = [key for key in names if reference.get(key) is not None]
    if len(given) != 1:
        text = "Give one of 'input_reference.image_url' and 'input_reference.file_id'."
        raise wrong_value("input_reference", text)
    if not isinstance(reference[given[0]], str):
        raise wrong_type(f"input_reference.{given[0]}", "a string", reference[given[0]])


def check_image(upload: Upload) -> None:
    """Raise Refusal for a reference of another type than the documented ones."""
    if upload.media_type not in IMAGES:
        listed = ", ".join(f"'{one}'" for one in IMAGES)
        text = f"Invalid file: unsupported type '{upload.media_type}'. Supported types are: {listed}."
        raise wrong_value("input_reference", text, code="unsupported_file_mimetype")

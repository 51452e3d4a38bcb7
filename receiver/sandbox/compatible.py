"""The manner of gateways such as ope.ai, which speak like OpenAI's API but call nobody back: fields that
they need and fields that they refuse, and statuses of their own invention.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from receiver.sandbox.forms import FormText, Upload
from receiver.sandbox.jobs import JobStatus, Order, VideoJob
from receiver.sandbox.openai import check_image, error_of, read_prompt, seconds_of, title_of
from receiver.sandbox.refusals import Refusal, missing, wrong_type, wrong_value

_REFUSED = {
    "aspect_ratio": "use 'size', for example '720x1280'",
    "resolution": "use 'size', for example '720x1280'",
    "duration_seconds": "use 'seconds', for example '4'",
    "content": "use 'prompt', and 'input_reference.content' for references",
    "img_url": "use 'input_reference.content' with an item of the type 'image_url'",
}
_REFUSED_REFERENCES = {
    "file_id": "use 'input_reference.content', or send the file as multipart/form-data",
    "image_url": "use 'input_reference.content' with an item of the type 'image_url'",
}
_REFERENCES = ("image_url", "video_url", "audio_url")
_TYPES: dict[str, tuple[type, str]] = {
    "generate_audio": (bool, "a boolean"),
    "enhance_prompt": (bool, "a boolean"),
    "negative_prompt": (str, "a string"),
    "person_generation": (str, "a string"),
    "seed": (int, "an integer"),
    "remix_video_id": (str, "a string"),
}
_MOST_UPLOADED = 10_000_000
_ON_THE_WAY = ((10, "queued"), (25, "NOT_START"), (50, "running"), (100, "processing"))


def read_order(fields: Mapping[str, object]) -> Order:
    """Read what a client asks for. Raise Refusal for what the gateway's documentation excludes."""
    for name, advice in _REFUSED.items():
        if name in fields:
            raise _incompatible(name, advice)
    model, prompt = _text(fields, "model"), read_prompt(fields)
    size, seconds = _text(fields, "size"), _text(fields, "seconds")
    _check_options(fields)
    _check_reference(fields.get("input_reference"))
    remixed_from = fields.get("remix_video_id")
    if remixed_from is not None and isinstance(fields.get("input_reference"), Upload):
        text = "An 'input_reference' file and 'remix_video_id' can't be in the same request."
        raise wrong_value("remix_video_id", text)
    return Order(
        title=title_of(prompt),
        transcript=prompt,
        model=model,
        seconds=seconds,
        size=size,
        remixed_from=str(remixed_from) if remixed_from is not None else None,
    )


def show(job: VideoJob, now: datetime) -> dict[str, object]:
    """Write the video object, without what does not apply."""
    shown = {
        "id": job.id,
        "object": "video",
        "status": _status(job, now),
        "created_at": int(job.created_at.timestamp()),
        "completed_at": seconds_of(job.finished_at) if job.status is JobStatus.COMPLETED else None,
        "expires_at": seconds_of(job.expires_at),
        "progress": int(job.progress(now)),
        "model": job.order.model,
        "prompt": job.order.transcript,
        "size": job.order.size,
        "seconds": job.order.seconds,
        "remix_video_id": job.order.remixed_from,
        "error": error_of(job),
    }
    return {name: value for name, value in shown.items() if value is not None}


def _status(job: VideoJob, now: datetime) -> str:
    if job.status is not JobStatus.PENDING:
        return job.status.value
    return next(name for limit, name in _ON_THE_WAY if job.progress(now) < limit)


def _incompatible(name: str, advice: str) -> Refusal:
    return Refusal(f"'{name}' is not supported: {advice}.", param=name, code="unsupported_parameter")


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if value is None or value == "":
        raise missing(name)
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def _check_options(fields: Mapping[str, object]) -> None:
    for name, (wanted, in_words) in _TYPES.items():
        value = fields.get(name)
        # True is an int to Python only.
        is_right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        if value is not None and not is_right and not isinstance(value, FormText):
            raise wrong_type(name, in_words, value)


def _check_reference(reference: object) -> None:
    if reference is None:
        return
    if isinstance(reference, Upload):
        check_image(reference)
        if len(reference.content) > _MOST_UPLOADED:
            text = f"The file is larger than {_MOST_UPLOADED} bytes."
            raise wrong_value("input_reference", text, code="file_too_large")
        return
    if not isinstance(reference, Mapping):
        raise wrong_type("input_reference", "an object", reference)
    for name, advice in _REFUSED_REFERENCES.items():
        if name in reference:
            raise _incompatible(f"input_reference.{name}", advice)
    content = reference.get("content")
    if not isinstance(content, list):
        raise wrong_type("input_reference.content", "an array", content)
    for number, item in enumerate(content):
        _check_item(f"input_reference.content[{number}]", item)


def _check_item(name: str, item: object) -> None:
    if not isinstance(item, Mapping):
        raise wrong_type(name, "an object", item)
    if "text" in item or item.get("type") == "text":
        raise _incompatible(f"{name}.text", "put text into 'prompt'")
    kind = item.get("type")
    if kind not in _REFERENCES:
        listed = ", ".join(f"'{one}'" for one in _REFERENCES)
        raise wrong_value(f"{name}.type", f"Invalid value: supported values are: {listed}.")
    held = item.get(kind)
    if not isinstance(held, Mapping) or not isinstance(held.get("url"), str):
        raise missing(f"{name}.{kind}.url")

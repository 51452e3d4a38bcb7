"""What came of an attempt and can't be stored: that job is dead and says why, the worker goes on."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Receiver, callback

# The class of what it raises has a name that no database takes.
HANDLERS = """\
from receiver import Router

router = Router()

class Odd(type):
    @property
    def __name__(cls):
        return "\\ud800"

class Strange(Exception, metaclass=Odd):
    pass

@router.on("video.completed")
def strange(event):
    if event.video.id == "v1":
        raise Strange("nobody can say this")

@router.on("video.completed", after="hooks.strange")
def follows(event):
    pass

@router.on("video.completed")
def plain(event):
    return event.video.id
"""


@pytest.mark.fault("R6")
def test_an_attempt_that_can_not_be_stored_ends_its_job_and_no_other(receiver: Receiver) -> None:
    receiver.handler(HANDLERS)
    receiver.start("--handlers", "hooks.py").ready()
    for video in ("v1", "v2", "v3"):
        receiver.accepted(callback(video))
    events = {event["video_id"]: event for event in receiver.settled(count=3)}
    states = {
        video: {job["handler"]: job["state"] for job in event["jobs"]} for video, event in events.items()
    }
    fine = {"hooks.strange": "done", "hooks.follows": "done", "hooks.plain": "done"}
    assert states == {
        "v1": {**fine, "hooks.strange": "dead", "hooks.follows": "cancelled"},
        "v2": fine,
        "v3": fine,
    }
    (error,) = (job["last_error"] for job in events["v1"]["jobs"] if job["handler"] == "hooks.strange")
    assert error.startswith("what came of the attempt can't be stored: ")
    receiver.accepted(callback("v4"))
    receiver.settled(count=4)
    assert len(receiver.log("worker.started")) == 1

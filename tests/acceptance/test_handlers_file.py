"""A handler file, written as its author would: it runs, it decides, and each mistake says what to change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.acceptance.conftest import (
    Event,
    Receiver,
    a_video,
    callback,
    children_of,
    each,
    processes_in,
    until,
)

TEN_LINES = """\
from pydantic import BaseModel
from receiver import Context, Event, Router

class Settings(BaseModel):
    directory: str = "courses"

router = Router(settings=Settings)

@router.on("video.completed", source="opennote", attempts=3, timeout="1m", concurrency=2)
async def publish(event: Event, context: Context) -> dict:
    saved = await context.save_video("{title}-{id}.mp4", directory=context.settings.directory)
    return {"path": str(saved.path)}
"""


def jobs(receiver: Receiver, event: Event) -> dict[str, dict[str, Any]]:
    """What `show` says about each job of an event, by its handler."""
    return {job["handler"]: job for job in receiver.show(event["id"])["jobs"]}


def test_ten_lines_are_a_handler(receiver: Receiver) -> None:
    receiver.handler(TEN_LINES, name="my_handler.py")
    receiver.start("--handlers", "my_handler.py")
    receiver.accepted(callback("v1", video=a_video()))
    [event] = receiver.settled(count=1)
    (job,) = receiver.show(event["id"])["jobs"]
    path = receiver.folder / "courses" / "A title-v1.mp4"
    assert (job["handler"], job["state"], job["attempts"]) == ("my_handler.publish", "done", 1)
    assert json.loads(job["result"]) == {"path": str(path)}
    assert path.read_bytes() == a_video()
    assert not receiver.videos.exists(), "--handlers takes the place of what the configuration loads"


def test_a_settings_table_reaches_the_handler(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers('[handlers]\nload = ["hooks.py"]\n[handlers.hooks]\ndirectory = "lectures"\n')
    receiver.handler(TEN_LINES)
    receiver.start()
    receiver.accepted(callback("v1", video=a_video()))
    receiver.settled(count=1)
    assert (receiver.folder / "lectures" / "A title-v1.mp4").read_bytes() == a_video()


OUTCOMES = """\
from receiver import Cancel, Event, Fail, Retry, Router

router = Router(name="o")
ON = "video.completed"

@router.on(ON)
def returns_nothing():
    pass

@router.on(ON)
def returns_value(event):
    return {"title": event.video.title, "list": [1, None, "é"]}

@router.on(ON)
def raises_cancel(event: Event) -> None:
    raise Cancel("nothing to do about it")

@router.on(ON)
async def returns_cancel(event, context):
    return Cancel("not mine")

@router.on(ON)
def raises_fail(event):
    raise Fail("hopeless")

@router.on(ON)
async def returns_fail(event):
    return Fail("hopeless, too")

@router.on(ON)
async def raises_retry(event, context):
    if context.attempt < 3:
        raise Retry(after="0.05s")
    return context.attempt

@router.on(ON)
def returns_retry(event, context):
    return context.attempt if context.attempt == 2 else Retry(after=0.05, reason="later, please")

@router.on(ON, attempts=2)
def never_stops_asking(event):
    raise Retry(after="0.05s", reason="again")

@router.on(ON, attempts=1)
async def raises(event):
    raise ValueError("a mistake in the handler")

@router.on(ON, attempts=1, timeout="0.2s")
async def is_too_slow(event):
    import asyncio
    await asyncio.sleep(60)

@router.on(ON, attempts=1)
def returns_no_json(event):
    return object()

@router.on("video.failed")
def on_failed(event):
    return [event.video.error.code, event.video.error.message, event.type, event.source, event.key]
"""


def test_each_outcome_raised_or_returned_is_what_becomes_of_the_job(receiver: Receiver) -> None:
    receiver.handler(OUTCOMES)
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("v1", title="Ünïcode"))
    receiver.accepted(callback("v2", "failed"))
    events = {event["video_id"]: event for event in receiver.settled(count=2)}
    found = jobs(receiver, events["v1"])
    told = {
        name.removeprefix("o."): (job["state"], job["attempts"], job["last_error"])
        for name, job in found.items()
    }
    assert told == {
        "returns_nothing": ("done", 1, None),
        "returns_value": ("done", 1, None),
        "raises_cancel": ("cancelled", 1, "nothing to do about it"),
        "returns_cancel": ("cancelled", 1, "not mine"),
        "raises_fail": ("dead", 1, "hopeless"),
        "returns_fail": ("dead", 1, "hopeless, too"),
        "raises_retry": ("done", 3, None),
        "returns_retry": ("done", 2, None),
        "never_stops_asking": ("dead", 2, "again (after 2 attempts)"),
        "raises": ("dead", 1, "ValueError: a mistake in the handler (hooks.py:46) (after 1 attempt)"),
        "is_too_slow": ("dead", 1, "did not finish within 200ms (after 1 attempt)"),
        "returns_no_json": ("dead", 1, told["returns_no_json"][2]),
    }
    assert "object that is not JSON" in str(told["returns_no_json"][2])
    assert json.loads(found["o.returns_value"]["result"]) == {"title": "Ünïcode", "list": [1, None, "é"]}
    assert json.loads(found["o.raises_retry"]["result"]) == 3
    (failed,) = jobs(receiver, events["v2"]).values()
    code, message, kind, source, key = json.loads(failed["result"])
    assert (code, message) == ("generation_failed", "it could not be made")
    assert (kind, source, key) == ("video.failed", "opennote", events["v2"]["event_key"])


CHAIN = """\
from receiver import Fail, Router

router = Router()

@router.on("video.completed", after="save_video")
async def measure(event, context):
    return {"measured": context.results["save_video"]["bytes"]}

@router.on("video.completed", after="hooks.measure")
def announce(event, context):
    return sorted(context.results)

@router.on("video.completed")
def gives_up(event):
    raise Fail("no luck")

@router.on("video.completed", after="gives_up")
def comes_after(event):
    return "never"

@router.on("video.completed", after="comes_after")
def comes_after_that(event):
    return "never"

@router.on("video.failed", after="gives_up")
def has_nothing_to_wait_for(event):
    return "never"
""".replace('after="gives_up"', 'after="hooks.gives_up"').replace(
    'after="comes_after"', 'after="hooks.comes_after"'
)


def test_a_chain_runs_in_order_and_hands_results_on_or_is_cancelled_with_the_reason(
    receiver: Receiver,
) -> None:
    receiver.handler(CHAIN)
    receiver.start("--handlers", "save_video", "--handlers", "hooks.py")
    receiver.accepted(callback("v1", video=a_video()))
    receiver.accepted(callback("v2", "failed"))
    events = {event["video_id"]: event for event in receiver.settled(count=2)}
    found = jobs(receiver, events["v1"])
    states = {name: (job["state"], job["attempts"], job["last_error"]) for name, job in found.items()}
    assert states == {
        "save_video": ("done", 1, None),
        "hooks.measure": ("done", 1, None),
        "hooks.announce": ("done", 1, None),
        "hooks.gives_up": ("dead", 1, "no luck"),
        "hooks.comes_after": ("cancelled", 0, "hooks.gives_up is dead"),
        "hooks.comes_after_that": ("cancelled", 0, "hooks.comes_after is cancelled: hooks.gives_up is dead"),
    }
    assert json.loads(found["hooks.measure"]["result"]) == {"measured": len(a_video())}
    assert json.loads(found["hooks.announce"]["result"]) == ["hooks.measure", "save_video"]
    (orphan,) = jobs(receiver, events["v2"]).values()
    assert (orphan["state"], orphan["attempts"]) == ("cancelled", 0)
    assert "hooks.gives_up" in orphan["last_error"]


def test_a_handler_reads_the_video_and_the_whole_body(receiver: Receiver) -> None:
    receiver.handler(
        "import hashlib\nfrom receiver import Router\nrouter = Router()\n"
        "@router.on('video.completed')\nasync def read(event, context):\n"
        "    video = hashlib.sha256()\n"
        "    async for chunk in context.open_video():\n        video.update(chunk)\n"
        "    with event.open_body() as body:\n        raw = hashlib.sha256(body.read())\n"
        "    return [video.hexdigest(), raw.hexdigest(), event.payload['response']['b64_video'],\n"
        "            context.idempotency_key, context.replay, context.attempts, event.video.inline]\n"
    )
    receiver.start("--handlers", "hooks.py")
    video = a_video(padding=100_000)
    body = json.dumps(callback("v1", video=video)).encode()
    event = receiver.post(body).json()["event"]
    receiver.settled(count=1)
    (job,) = receiver.show(event)["jobs"]
    length = len(callback("v1", video=video)["response"]["b64_video"])
    assert json.loads(job["result"]) == [
        hashlib.sha256(video).hexdigest(),
        hashlib.sha256(body).hexdigest(),
        {"$long_string": {"bytes": length}},
        f"{event}:hooks.read",
        None,
        20,
        True,
    ]


@dataclass(frozen=True)
class Mistake:
    """Something a beginner writes, and words of the error that tell them what to write instead."""

    source: str
    words: tuple[str, ...]
    config: str = ""


HEAD = "from receiver import Cancel, Context, Event, Fail, Retry, Router\nrouter = Router()\n"
ON = '@router.on("video.completed")\n'
MISTAKES = {
    "no parentheses after on": Mistake(
        HEAD + "@router.on\ndef publish(event): ...\n",
        ("hooks.py:3", "publish", "parentheses", '"video.completed"'),
    ),
    "an unknown event type": Mistake(
        HEAD + '@router.on("video.complete")\ndef publish(event): ...\n',
        ("hooks.py:3", "publish", '"video.complete"', 'did you mean "video.completed"?'),
    ),
    "three arguments": Mistake(
        HEAD + ON + "def publish(event, context, path): ...\n",
        ("hooks.py:3", "publish", "path", "(event, context)"),
    ),
    "swapped arguments": Mistake(
        HEAD + ON + "def publish(context, event): ...\n",
        ("hooks.py:3", "publish", "swapped", "(event, context)"),
    ),
    "two handlers of one name": Mistake(
        HEAD + ON + "def publish(event): ...\n" + ON + "def publish(event): ...\n",
        ("hooks.py:5", "publish", "hooks.py:3", "rename"),
    ),
    "a missing router": Mistake("def publish(event): ...\n", ("hooks.py", "router = Router()")),
    "a wrong import": Mistake("from receiver import Routr\n", ("hooks.py:1", 'did you mean "Router"?')),
    "a syntax error": Mistake(HEAD + "def publish(event)\n    pass\n", ("hooks.py:3", "SyntaxError")),
    "a timeout without a unit that exists": Mistake(
        HEAD + '@router.on("video.completed", timeout="10 parsecs")\ndef publish(event): ...\n',
        ("hooks.py:3", "publish", "timeout", "10 parsecs"),
    ),
    "after an unknown handler": Mistake(
        HEAD
        + ON
        + "def save(event): ...\n@router.on('video.completed', after='hooks.sav')\ndef then(event): ...\n",
        ("hooks.py:5", "then", 'did you mean "hooks.save"?'),
    ),
    "an unknown source": Mistake(
        HEAD + '@router.on("video.completed", source="openote")\ndef publish(event): ...\n',
        ("hooks.py:3", "publish", "openote", 'did you mean "opennote"?'),
    ),
    "a misspelt setting": Mistake(
        "from pydantic import BaseModel\n"
        + HEAD.replace("Router()", "Router(settings=Settings)").replace(
            "router =", "class Settings(BaseModel):\n    size: int = 1\nrouter ="
        )
        + ON
        + "def publish(event): ...\n",
        ("[handlers.hooks]", "sise", 'did you mean "size"?', "hooks.py"),
        config="[handlers.hooks]\nsise = 2\n",
    ),
}


def test_each_mistake_says_file_function_and_mend(receivers: Callable[..., Receiver]) -> None:
    assert len(MISTAKES) >= 10
    made = {name: receivers(mistake.config) for name, mistake in MISTAKES.items()}

    def tried(name: str) -> list[str]:
        """What is wrong with the answers to a mistake; `serve` is asked about every third."""
        mistake, receiver = MISTAKES[name], made[name]
        receiver.handler(mistake.source)
        answers = [receiver.run("handlers", "--handlers", "hooks.py")]
        if names.index(name) % 3 == 0:  # it asks the same child
            answers.append(receiver.run("serve", "--port", "0", "--handlers", "hooks.py"))
        said_by_all = {tuple(ended.complaints) for ended in answers}
        found = [f"{name}: {answers} differ"] if len(said_by_all) > 1 else []
        for ended in answers:
            said = "".join(ended.complaints)
            is_one_clear_line = (ended.status, ended.stdout, len(ended.complaints)) == (2, "", 1)
            missing = [word for word in mistake.words if word not in said]
            found += [] if is_one_clear_line and not missing else [f"{name}: {missing} in {ended}"]
        return found + processes_in(receiver.folder)

    names = list(MISTAKES)
    halves = each(lambda part: [tried(name) for name in part], [names[::2], names[1::2]])
    assert [found for half in halves for found in half if found] == []


def test_no_user_code_runs_in_ingress_or_store(receiver: Receiver) -> None:
    receiver.handler(
        "import os\nfrom pathlib import Path\nfrom receiver import Router\nrouter = Router()\n"
        "Path(__file__).with_name('loaded-in').open('a').write(f'{os.getpid()}\\n')\n"
        "@router.on('video.completed')\ndef run(event):\n    return os.getpid()\n"
    )
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("v1"))
    [event] = receiver.settled(count=1)
    loaded_in = {int(line) for line in (receiver.folder / "loaded-in").read_text().split()}
    assert not loaded_in & {receiver.pid, receiver.child("receiver.store.process")}
    assert int(jobs(receiver, event)["hooks.run"]["result"]) == receiver.child("receiver.worker")
    assert receiver.child("receiver.worker") in loaded_in & set(children_of(receiver.pid))


def test_what_is_odd_about_handlers_is_a_warning_and_no_error(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers("[handlers.elsewhere]\nkey = 1\n")
    receiver.handler("from receiver import Router\nrouter = Router()\n")
    ended = receiver.run("handlers", "--handlers", "hooks.py")
    assert ended.status == 0
    assert "no handlers" in ended.stdout + ended.stderr
    assert any("hooks.py" in line and "@router.on" in line for line in ended.complaints)
    assert any("[handlers.elsewhere]" in line for line in ended.complaints)
    receiver.start("--handlers", "hooks.py")
    assert receiver.accepted(callback("v1"))


def test_what_a_handler_file_prints_while_it_is_loaded_harms_nobody(receiver: Receiver) -> None:
    receiver.handler(f"print('hello')\nimport os\nos.system('echo hello')\n{TEN_LINES}")
    assert receiver.look("handlers", "--handlers", "hooks.py")[0]["name"] == "hooks.publish"
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("v1", video=a_video()))
    [event] = receiver.settled(count=1)
    assert [job["state"] for job in event["jobs"]] == ["done"]


def test_a_handler_file_that_prints_later_is_one_clear_line(receiver: Receiver) -> None:
    receiver.handler(f"import atexit\natexit.register(print, 'goodbye')\n{TEN_LINES}")
    ended = receiver.run("serve", "--port", "0", "--no-worker", "--handlers", "hooks.py")
    assert (ended.status, ended.stdout) == (1, "")
    [line] = ended.complaints
    assert line.startswith("receiver: the handlers can't be listed: standard output has the line 'goodbye'; ")


def test_a_handler_file_that_ends_its_process_is_one_clear_line(receiver: Receiver) -> None:
    receiver.handler(f"import os\nos._exit(3)\n{TEN_LINES}")
    ended = receiver.run("serve", "--port", "0", "--handlers", "hooks.py")
    assert (ended.status, ended.stdout) == (1, "")
    assert ended.complaints == ["receiver: the handlers could not be listed: a worker ended with status 3"]
    assert processes_in(receiver.folder) == []


def test_files_beside_the_configuration_take_no_modules_place(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers('[handlers]\nload = ["save_video", "my_package.hooks"]\n')
    (receiver.folder / "my_package").mkdir()
    receiver.handler(TEN_LINES, name="my_package/hooks.py")
    for name in ("token.py", "queue.py", "handlers.py", "json.py", "click.py", "receiver.py"):
        receiver.handler("raise SystemExit('the wrong module')\n", name=name)
    listed = [handler["name"] for handler in receiver.look("handlers")]
    assert listed == ["save_video", "hooks.publish"]
    receiver.start()
    receiver.accepted(callback("v1", video=a_video()))
    [event] = receiver.settled(count=1)
    assert {name: job["state"] for name, job in jobs(receiver, event).items()} == dict.fromkeys(
        listed, "done"
    )


def test_serve_says_what_it_waits_for_when_handlers_do_not_load(receiver: Receiver) -> None:
    receiver.handler(f"import time\ntime.sleep(600)\n{TEN_LINES}")
    receiver.begin("--handlers", "hooks.py")
    line = "receiver: handlers are still being loaded: hooks.py\n"
    until(lambda: line in receiver.log_file.read_text(), what="a line about the file that hangs")
    receiver.stop()
    assert not processes_in(receiver.folder)


def test_a_template_with_a_typing_mistake_is_told_at_the_start(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers('[handlers.save_video]\ntemplate = "{titel}-{id}"\n')
    for command in (("check",), ("serve", "--port", "0")):
        ended = receiver.run(*command)
        assert ended.status in (1, 2)
        assert "[handlers.save_video]: template: a file name template knows only {id}, {title}" in (
            ended.stdout + ended.stderr
        )

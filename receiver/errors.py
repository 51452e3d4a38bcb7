"""The project's exceptions: one tree, so that a caller can catch exactly as much as it means.

ReceiverError
├── UsageError              wrong usage or configuration: exit status 2
│   ├── SettingsError       the configuration file or the environment
│   └── HandlerError        a handler module that can't be loaded
├── CommandFailed           a command understood its task and could not do it: exit status 1
├── Refused                 a request is answered with `status` and goes no further
│   ├── BadBody             400: not one strict JSON object
│   ├── BadQuestion         400: a parameter of the API that can't be understood
│   ├── NotJson             415: the API is sent something else
│   ├── TooLarge            413: over a size limit
│   ├── TooSlow             408: the body did not arrive in time
│   └── Unavailable         503: it can't be made durable right now
│       ├── StoreDown       the store process can't be reached
│       └── Unstorable      it holds a value that the store can't keep, now or ever
├── Disconnected            the sender went away; there is nobody to answer
├── StoreError              the store refuses a request that was understood
│   ├── StoreInUse          another receiver holds the store: exit status 2
│   ├── StoreDamaged        the file is not (any more) what we wrote: exit status 2
│   └── NotFound            no such event, or an ambiguous abbreviation
├── BadCapture              a capture file is none, hostile, unfinished or damaged
├── BadCopy                 what another receiver is said to have recorded can't be taken
└── VideoError              the video can't be had
    ├── Hopeless            and never will: the attempt is a Fail
    │   ├── DeadLink        the link is refused by its host
    │   └── Unreadable      an answer came, and nothing can be done with it
    └── Unfinished          this time: the attempt is retried
        ├── Unreachable     nobody was there to be asked: nothing was sent
        └── FileChanged     the rest was asked for of a file that is another one by now
"""

from __future__ import annotations


class ReceiverError(Exception):
    """Anything this package raises on purpose."""


class UsageError(ReceiverError):
    """Wrong usage or configuration; the message is one line that says what to change."""


class SettingsError(UsageError):
    """The configuration file or the environment is missing, unreadable or wrong."""


class HandlerError(UsageError):
    """A handler module can't be loaded; the message names the file, the function and the mend."""


class CommandFailed(ReceiverError):
    """A command understood what to do and could not do it; the message is one line."""


class Refused(ReceiverError):
    """A request that is answered with `status` and recorded nowhere.

    `reason` is what the sender is told; it never repeats the sender's own input.
    """

    status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadBody(Refused):
    """The body is not one strict JSON object."""

    status = 400


class BadQuestion(Refused):
    """The API is asked for something that it does not know; the reason names the parameter."""

    status = 400


class NotJson(Refused):
    """What the API is sent is not declared as JSON."""

    status = 415


class TooLarge(Refused):
    """The body, or the part of it that has to be held in memory, is over its limit."""

    status = 413


class TooSlow(Refused):
    """The body did not arrive in time."""

    status = 408


class Unavailable(Refused):
    """The delivery can't be made durable right now; the sender should try again."""

    status = 503


class StoreDown(Unavailable):
    """The store process can't be reached, or went away before it answered."""


class Unstorable(Unavailable):
    """The store can't keep this one, whatever it is: a value in it is not what a row may hold.

    Nothing is wrong with the store, and whatever came with it is kept.
    """


class Disconnected(ReceiverError):
    """The sender closed the connection before the body was complete."""


class StoreError(ReceiverError):
    """The store refuses a request that it understood."""


class StoreInUse(StoreError):
    """Another receiver holds the lock of this store."""


class StoreDamaged(StoreError):
    """The database file has a bad header or schema, or belongs to another version."""


class NotFound(StoreError):
    """No event has this id, or several begin with it."""


class BadCapture(ReceiverError):
    """A capture file can't be used; each line of the message says of one thing why."""


class BadCopy(ReceiverError):
    """A delivery of another receiver, or its body, is not what it should be; nothing of it is repeated."""


class VideoError(ReceiverError):
    """The video can't be had; `str()` is fit for an operator and holds no secret."""


class Hopeless(VideoError):
    """Trying again can't help: a forbidden link, a 404, broken base64, a size over the cap."""


class DeadLink(Hopeless):
    """The file host refuses the link, with this `status`: it has expired, or is wrong, or the key is."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.status = status


class Unreadable(Hopeless):
    """An answer came, and nothing can be done with it; what was asked for may have been done."""


class Unfinished(VideoError):
    """Trying again may help: a truncated download, a timeout, a 5xx.

    `retry_after_seconds` is what the other side asked for, if it asked.
    """

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class Unreachable(Unfinished):
    """There is no way to the other side at the moment; nothing of the request was sent."""


class FileChanged(Unfinished):
    """The rest of a file was asked for, and the file is not the one whose beginning is there."""

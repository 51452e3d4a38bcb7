"""The faults and attacks that this project answers for: what goes wrong, and what has to happen then."""

from __future__ import annotations

from dataclasses import dataclass

LOOKING = "with the dashboard"
POSTGRESQL = "with PostgreSQL"
AUDITING = "with an audit of dependencies"


@dataclass(frozen=True, slots=True)
class Row:
    """One fault."""

    id: str
    fault: str
    duty: str
    later: str = ""
    """With what the tests of this row come, when they aren't due yet."""


ROWS = (
    Row("A1", "any of the four headers missing or wrong", "401, the same for every reason"),
    Row("A2", "guessing a key by the time an answer takes", "digests, compared in constant time"),
    Row("A3", "a credential doubled, folded, empty or not ASCII", "401, never 500"),
    Row("A4", "a captured callback sent again and again", "one effect"),
    Row("A5", "a signature over a body that was parsed and written anew", "raw bytes are checked and kept"),
    Row("A6", "an old signature sent again", "401 outside of its window"),
    Row("A7", "a valid callback sent again at once", "accepted once, the others are duplicates"),
    Row("A8", "keys are rotated under load", "every live key is believed"),
    Row("A9", "unknown, huge or malformed signature lists", "skipped and bounded, then 401"),
    Row("A10", "ids and times that make a signed text ambiguous", "401"),
    Row("A11", "credentials of one source at the address of another", "401"),
    Row("A12", "an empty or missing key in the configuration", "no start, one line that says why"),
    Row("A13", "a flood of wrong credentials", "429, bounded lists, good senders unharmed"),
    Row("P1", "deep nesting", "400"),
    Row("P2", "absurd numbers", "400"),
    Row("P3", "a key that is given twice", "400"),
    Row("P4", "text that is not valid UTF-8", "400"),
    Row("P5", "JSON of an unexpected shape", "an object is kept, anything else is 400"),
    Row("P6", "a missing or odd content type", "415"),
    Row("P7", "two lengths, folded headers, bad chunks", "400 and a closed connection"),
    Row("P8", "a malformed Host", "nothing is decided by it"),
    Row("P9", "odd paths and methods", "404 or 405, exactly"),
    Row("P10", "a form sent to a JSON address", "415, never parsed"),
    Row("P11", "control characters or endless text in ids", "400"),
    Row("B1", "a body over the limit", "413"),
    Row("B2", "a large inline video", "accepted in flat memory"),
    Row("B3", "wrong credentials before a large body", "401 before its first byte is read"),
    Row("B4", "a body that is only known to be genuine at its end", "a limit of its own, read as a stream"),
    Row("B5", "slow heads, slow bodies, silent connections", "408 or closed in time"),
    Row("B6", "many large bodies at once", "503 for those that are too many"),
    Row("B7", "compressed bodies", "415"),
    Row("B8", "a sender that goes away in its body", "nothing is left of it"),
    Row("B9", "base64 that is none", "dead with the place of the fault, the body stays"),
    Row("B10", "both a link and an inline video, or neither", "one fixed order"),
    Row("B11", "something else in place of a video", "dead, the original stays"),
    Row("D1", "equal callbacks at the same instant", "one event, all answered 2xx"),
    Row("D2", "somebody without credentials claims an id first", "the real sender is accepted"),
    Row("D3", "one video, several statuses", "every order of them ends the same"),
    Row("D4", "the same id with another video", "a conflict that changes nothing"),
    Row("D5", "news out of order", "completed is never undone"),
    Row("D6", "a duplicate while the first is not yet durable", "no 200 before it is"),
    Row("D7", "a redelivery after days", "still a duplicate"),
    Row("D8", "a crash between an effect and its report", "the same idempotency key again"),
    Row("D9", "a replay while the job is being retried", "one claim at a time"),
    Row("D10", "several writers of one PostgreSQL", "the same guarantees", POSTGRESQL),
    Row("C1", "kill -9 after the answer", "nothing acknowledged is lost"),
    Row("C2", "a power cut after the answer", "nothing acknowledged is lost"),
    Row("C3", "a write or a sync fails", "503, and the store ends"),
    Row("C4", "the disk is full", "503, and it goes on by itself"),
    Row("C5", "a crash while a file is written", "nobody ever sees half of it"),
    Row("C6", "body files without rows, rows without body files", "swept and reported"),
    Row("C7", "a crash while recovering", "recovering again is enough"),
    Row("C8", "a damaged database", "refused and kept"),
    Row("C9", "a SQLite whose log can be corrupted by two writers", "exactly one connection writes"),
    Row("C10", "somebody else holds the database", "503, never 500"),
    Row("C11", "an interrupted upgrade, an older program", "the former state, or a refusal"),
    Row("C12", "a backup under load", "it opens and is complete"),
    Row("R1", "a worker dies with a job", "another one runs it"),
    Row("R2", "a slow job is taken for a lost one", "one effect"),
    Row("R3", "who gives jobs back is stuck", "not ready, and a metric of its own says so"),
    Row("R4", "a worker that can't renew its lease", "it stops before that has run out"),
    Row("R5", "an event that kills its worker", "dead after a few, others go on"),
    Row("R6", "an event that always fails", "dead in the end, others go on"),
    Row("R7", "everything is due after an outage", "spread out"),
    Row("R8", "a target that answers oddly or not at all", "retried or given up as fits"),
    Row("R9", "many workers start together", "bounded claims"),
    Row("R10", "forwarding headers that aren't meant for others", "a list of those that are"),
    Row("R11", "a handler that blocks or never ends", "its worker is replaced"),
    Row("R12", "failures without end", "bounded rows and texts"),
    *(
        Row(f"S{number}", fault, duty)
        for number, (fault, duty) in enumerate(
            (
                ("links to inner addresses", "refused before connecting"),
                ("hosts that are written deceptively", "refused"),
                ("buckets that look like the right one", "refused"),
                ("a name that changes its address", "what was checked is connected to"),
                ("redirects", "not followed"),
                ("proxies from the environment", "not used"),
                ("bad certificates", "refused"),
                ("downloads without end", "bounded in bytes and time"),
                ("compressed downloads", "refused"),
                ("expired links", "a reason without the link's query"),
                ("a file that changes between tries", "never stitched"),
                ("playlists that pass for videos", "never followed"),
                ("forwarding to inner addresses", "targets from the configuration only"),
                ("error pages with inner content", "never stored"),
            ),
            start=1,
        )
    ),
    *(
        Row(f"F{number}", fault, duty)
        for number, (fault, duty) in enumerate(
            (
                ("ids and titles that are paths", "every file stays in its folder"),
                ("planted links", "not followed"),
                ("folders that are swapped while writing", "the opened one counts"),
                ("two videos of one name", "a file for each"),
                ("files that everybody may read", "private ones"),
                ("no descriptors or inodes left", "503, and it goes on"),
                ("file systems that fold names", "names that fold apart"),
                ("cleaning that removes too much", "only what is ours and over"),
                ("a volume that is read-only or gone", "503, and it goes on"),
            ),
            start=1,
        )
    ),
    *(
        Row(f"W{number}", fault, duty, LOOKING if number in (2, 3) else "")
        for number, (fault, duty) in enumerate(
            (
                ("looking without a token", "401"),
                ("requests that a foreign page makes", "refused"),
                ("markup in what callbacks say", "shown as text"),
                ("pages that show credentials", "they hold none"),
                ("replaying thousands by a slip", "asked for, with the number"),
                ("headers that pass for a replay", "believed no more than others"),
                ("videos with a foreign type, odd ranges", "fixed types, bounded work"),
                ("filters that inject", "parameters only"),
                ("guessing the token", "as for callbacks"),
                ("captures that hold credentials", "they hold none"),
            ),
            start=1,
        )
    ),
    Row("O1", "credentials on their way into logs, files and answers", "none arrives"),
    Row("O2", "line ends and escapes in what is logged", "every line is one whole JSON object"),
    Row("O3", "a log that nobody reads", "callbacks go on"),
    Row("O4", "SIGTERM at any moment", "a clean end in time, nothing acknowledged is lost"),
    Row("O5", "a clock that jumps", "no lease or deadline notices"),
    Row("O6", "a machine that is frozen for a while", "leases are lost, effects are not doubled"),
    Row("O7", "little memory", "bounded use, a clean restart"),
    Row("O8", "dependencies with known holes", "floors for their versions", AUDITING),
    Row("O9", "PostgreSQL is away", "503 in time, and it goes on by itself", POSTGRESQL),
    Row("O10", "a callback that nobody can account for", "what came and what became of it add up"),
    Row("O11", "mistakes in the configuration", "no start, and the key's name"),
    Row("O12", "health that is claimed", "ready means that it can write and that a worker lives"),
)

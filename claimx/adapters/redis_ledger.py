"""The ledger in Redis: every step one script a chunk (design page, section 1)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
import redis

from claimx.adapters import redis_ledger_scripts as lua
from claimx.domain.errors import ErrorCategory, Unavailable
from claimx.domain.ports import Admitted, Checkpoint, DeadOnArrival
from claimx.domain.records import (
    Advance,
    Buried,
    Census,
    DeadFilter,
    DeadLetter,
    Failure,
    Kind,
    NewRecord,
    Outcome,
    Record,
    Retried,
    Stage,
    State,
    Waited,
)
from claimx.domain.times import Micros

T = TypeVar("T")

CHUNK = 500  # records a script: some milliseconds in which Redis does nothing else
MOST_LOSSES = 10
IDLE_MS = 15_000  # a writer silent for this long is taken for dead
CLAIM_EVERY_SECONDS = 2.0
_GROUP = "lake"
_LETTERS_A_LOOK = 500
_MOST_LETTERS_LOOKED_AT = 200_000
_FIELDS = ("k", "s", "st", "a", "y", "d", "t", "adm", "w", "rw", "f", "died", "re", "h")


class RedisLedger:
    """
    `claimx.domain.ports.Ledger` over one Redis (or Valkey), plain or behind Sentinel.

    *client* must not decode. *dedup_seconds* is for callers that ask for no other window.
    *clock* replaces Redis's own time in tests only: a process with a wrong clock is harmless.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: str = "claimx",
        dedup_seconds: float = 86_400.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self._prefix = f"{{{prefix}:0}}:"
        self.dedup_seconds = dedup_seconds
        self._clock = clock
        self._consumer = ""
        self._next_claim = 0.0
        self._scripts = {
            name: client.register_script(getattr(lua, name))
            for name in (
                "STORE_PAGE", "ADMIT", "CLAIM", "RENEW", "RELEASE", "SETTLE", "DUE", "FINISH",
                "FAIL_ROWS", "REQUEUE",
            )
        }  # fmt: skip

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers and takes a write."""
        with self._errors():
            self._client.set(self._key("ping"), "", ex=60)

    # polling
    def checkpoint(self, cursor: str) -> Checkpoint | None:
        """Return the cursor's checkpoint."""
        with self._errors():
            at, version = self._client.hmget(self._key("cp:", cursor), ["t", "v"])
        return None if at is None else Checkpoint(int(at), int(version))

    def store_page(
        self,
        cursor: str,
        expected: Checkpoint | None,
        move_to: Micros,
        pages: Sequence[NewRecord],
        fence: int = 0,
    ) -> Checkpoint | None:
        """Store page records and move the checkpoint, in one step."""
        arguments: list[Any] = [cursor, expected.version if expected else "", move_to, fence]
        arguments.append(len(pages))
        for page in pages:
            arguments += [page.id, orjson.dumps(page.data), page.trace, page.stage.value]
        moved = self._run("STORE_PAGE", arguments)
        return Checkpoint(int(moved[0]), int(moved[1])) if moved else None

    def admit(
        self,
        page: Record,
        events: Sequence[NewRecord],
        malformed: Sequence[DeadOnArrival],
        seen_seconds: float,
    ) -> Admitted | None:
        """Turn a claimed page into event records and dead letters: one step."""
        arguments: list[Any] = [page.id, page.lease, seen_seconds, len(events)]
        for new in events:
            arguments += [new.id, new.stage.value, orjson.dumps(new.data), new.trace]
        arguments.append(len(malformed))
        for dead in malformed:
            new = dead.record
            arguments += [new.id, new.stage.value, _json(new.data), new.trace]
            arguments.append(_failure(dead.failure))
        found = self._run("ADMIT", arguments)
        if not found:
            return None
        return Admitted(tuple(x.decode() for x in found[0]), int(found[1]), int(found[2]))

    def seen(self, ids: Sequence[str]) -> set[str]:
        """Return those that were admitted within the dedup window."""
        with self._errors(), self._client.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.exists(self._key("seen:", id_), self._key("r:", id_))
            found = pipe.execute()
        return {id_ for id_, known in zip(ids, found, strict=True) if known}

    # stages
    def claim(self, stage: Stage, ids: Sequence[str], lease_seconds: float) -> list[Record]:
        """Lease those that are due here."""
        lost = Failure(
            ErrorCategory.UNKNOWN, "LeaseLost", f"its worker died {MOST_LOSSES} times", stage, 0,
            reason="lost by its workers",
        )  # fmt: skip
        records: list[Record] = []
        for part in _parts(ids):
            lease = secrets.token_hex(8)
            arguments = [stage.value, lease_seconds, lease, MOST_LOSSES, _failure(lost), *part]
            now, taken = self._run("CLAIM", arguments)
            records += [_claimed(fields, stage, lease, float(now)) for fields in taken]
        return records

    def renew(self, records: Sequence[Record], lease_seconds: float) -> set[str]:
        """Extend leases, and keep the stream entries of WRITE records from looking idle."""
        kept: set[str] = set()
        for part in _parts(records):
            arguments: list[Any] = [lease_seconds, self._consumer]
            for record in part:
                arguments += [record.id, record.lease, record.stage.value]
            kept |= {id_.decode() for id_ in self._run("RENEW", arguments)}
        return kept

    def release(self, records: Sequence[Record]) -> None:
        """Give leases back untouched."""
        for part in _parts(records):
            arguments: list[Any] = []
            for record in part:
                arguments += [record.id, record.lease, record.stage.value]
            self._run("RELEASE", arguments)

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Carry out outcomes, each with its rows and what it spawns."""
        done: list[bool] = []
        for part in _parts(outcomes):
            arguments: list[Any] = [len(part)]
            for outcome in part:
                arguments += _outcome(outcome)
            done += [bool(flag) for flag in self._run("SETTLE", arguments)]
        return done

    def due(self, limit: int) -> dict[tuple[Stage, str], list[str]]:
        """Return what needs a hint; puts WRITE records back on the stream."""
        stages = [stage.value for stage in Stage]
        found: dict[tuple[Stage, str], list[str]] = {}
        for stage, id_, affinity in self._run("DUE", [limit, *stages]):
            found.setdefault((Stage(stage.decode()), affinity.decode()), []).append(id_.decode())
        return found

    def active(self) -> int:
        """Return how many event and media records are active."""
        with self._errors():
            counts = self._client.hmget(self._key("n"), ["k|event", "k|media"])
        return sum(int(count or 0) for count in counts)

    # the lake writer
    def read_rows(self, consumer: str, count: int, block_seconds: float) -> list[tuple[str, str]]:
        """Hand out stream entries, new ones and those of consumers that went silent."""
        self._consumer = consumer
        stream = self._key("rows")
        with self._errors():
            for attempt in (1, 2):
                try:
                    return self._read(stream, consumer, count, block_seconds)
                except redis.ResponseError as error:
                    if "NOGROUP" not in str(error) or attempt == 2:  # noqa: PLR2004 - created once
                        raise
                    self._make_group(stream)
        return []

    def _read(
        self, stream: str, consumer: str, count: int, block_seconds: float
    ) -> list[tuple[str, str]]:
        entries: list[Any] = []
        if time.monotonic() >= self._next_claim:
            self._next_claim = time.monotonic() + CLAIM_EVERY_SECONDS
            entries = self._client.xautoclaim(
                stream, _GROUP, consumer, IDLE_MS, "0-0", count=count
            )[1]
        if len(entries) < count:
            # block=0 would block for ever
            block = int(block_seconds * 1000) if not entries else 0
            answer = self._client.xreadgroup(
                _GROUP, consumer, {stream: ">"}, count - len(entries), block or None
            )
            entries = [*entries, *(_entries_of(answer))]
        return [(entry.decode(), fields[b"id"].decode()) for entry, fields in entries if fields]

    def _make_group(self, stream: str) -> None:
        try:
            self._client.xgroup_create(stream, _GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def forget_entries(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge and delete entries."""
        stream = self._key("rows")
        for part in _parts(entry_ids):
            with self._errors(), self._client.pipeline() as pipe:
                pipe.xack(stream, _GROUP, *part)
                pipe.xdel(stream, *part)
                pipe.execute()

    def finish(self, done: Sequence[tuple[str, Record]], known_seconds: float) -> int:
        """Settle records whose rows are committed."""
        total = 0
        for part in _parts(done):
            arguments: list[Any] = [known_seconds]
            for entry, record in part:
                status = str(record.data.get("status", ""))
                arguments += [entry, record.id, record.lease, status, record.kind.value]
            total += int(self._run("FINISH", arguments))
        return total

    def fail_rows(self, done: Sequence[tuple[str, Record]], failure: Failure) -> int:
        """Bury records whose rows the lake refuses."""
        total = 0
        for part in _parts(done):
            arguments: list[Any] = [_failure(failure)]
            for entry, record in part:
                arguments += [entry, record.id, record.lease]
            total += int(self._run("FAIL_ROWS", arguments))
        return total

    # dead letters and the operator
    def dead_letters(self, match: DeadFilter) -> list[DeadLetter]:
        """Return dead letters, the newest first."""
        letters: list[DeadLetter] = []
        for ids in [list(match.ids)] if match.ids else self._dead_ids():
            for id_, fields in zip(ids, self._fetch(ids), strict=True):
                if fields.get("st") != b"dead":
                    continue
                letter = _letter(id_, fields)
                if _matches(letter, match):
                    letters.append(letter)
                    if len(letters) >= match.limit:
                        return letters
        return letters

    def requeue(self, ids: Sequence[str], stage: Stage | None = None) -> int:
        """Send dead records back to a stage, due now."""
        total = 0
        for part in _parts(list(dict.fromkeys(ids))):
            arguments: list[Any] = []
            for id_, fields in zip(part, self._fetch(part), strict=True):
                if fields.get("st") == b"dead":
                    arguments += _requeued(id_, fields, stage)
            if arguments:
                total += int(self._run("REQUEUE", arguments))
        return total

    def find(self, record_id: str) -> tuple[Record, tuple[dict[str, Any], ...]] | None:
        """Return a record in any state with its history."""
        (fields,) = self._fetch([record_id])
        if not fields:
            return None
        waiting = float(fields["w"]) if "w" in fields else None
        record = Record(
            id=record_id,
            kind=Kind(fields["k"].decode()),
            stage=Stage(fields["s"].decode()),
            data=orjson.loads(fields["d"]),
            attempts=int(fields.get("a", 0)),
            tries=int(fields.get("y", 0)),
            trace=fields.get("t", b"").decode(),
            admitted_at=float(fields.get("adm", 0)),
            waited_seconds=max(0.0, self._now() - waiting) if waiting else 0.0,
            rows=fields.get("rw", b""),
            state=State(fields["st"].decode()),
        )
        return record, _history(fields)

    def census(self) -> Census:
        """Count everything."""
        with self._errors(), self._client.pipeline(transaction=True) as pipe:
            pipe.hgetall(self._key("count"))
            pipe.hgetall(self._key("n"))
            pipe.xlen(self._key("rows"))
            for stage in Stage:
                pipe.zrange(self._key("look:", stage.value), 0, 0)
            counts, numbers, length, *firsts = pipe.execute()
        oldest = self._ages({s: f[0].decode() for s, f in zip(Stage, firsts, strict=True) if f})
        stages: dict[Stage, dict[State, int]] = {}
        by_attempts: dict[Stage, dict[int, int]] = {}
        kinds: dict[str, dict[Kind, int]] = {"k": {}, "d": {}}
        for name, value in numbers.items():
            what, _, rest = name.decode().partition("|")
            number = int(value)
            if what in kinds:
                kinds[what][Kind(rest)] = number
                continue
            stage_name, _, detail = rest.partition("|")
            if what == "s":
                stages.setdefault(Stage(stage_name), {})[State(detail)] = number
            else:
                by_attempts.setdefault(Stage(stage_name), {})[int(detail)] = number
        return Census(
            counters={name.decode(): int(value) for name, value in counts.items()},
            stages=stages,
            active=kinds["k"],
            dead=kinds["d"],
            by_attempts=by_attempts,
            oldest_seconds=oldest,
            stream_length=int(length),
            stream_pending=self._pending(),
        )

    def _ages(self, firsts: dict[Stage, str]) -> dict[Stage, float]:
        now = self._now()
        with self._errors(), self._client.pipeline(transaction=False) as pipe:
            for id_ in firsts.values():
                pipe.hget(self._key("r:", id_), "adm")
            admitted = pipe.execute()
        return {
            stage: max(0.0, now - float(at))
            for stage, at in zip(firsts, admitted, strict=True)
            if at is not None
        }

    def _pending(self) -> int:
        try:
            found: Any = self._client.xpending(self._key("rows"), _GROUP)
            return int(found["pending"])
        except redis.ResponseError:  # no group yet
            return 0
        except redis.RedisError as error:
            raise self._unavailable(error) from None

    def _dead_ids(self) -> Iterator[list[str]]:
        for start in range(0, _MOST_LETTERS_LOOKED_AT, _LETTERS_A_LOOK):
            with self._errors():
                ids = self._client.zrevrange(self._key("dead"), start, start + _LETTERS_A_LOOK - 1)
            if not ids:
                return
            yield [id_.decode() for id_ in ids]

    def _fetch(self, ids: Sequence[str]) -> list[dict[str, bytes]]:
        with self._errors(), self._client.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.hmget(self._key("r:", id_), list(_FIELDS))
            found = pipe.execute()
        return [
            {name: value for name, value in zip(_FIELDS, values, strict=True) if value is not None}
            for values in found
        ]

    def _now(self) -> float:
        if self._clock is not None:
            return self._clock()
        with self._errors():
            seconds, micros = self._client.time()
        return float(seconds) + float(micros) / 1e6

    def _key(self, *parts: str) -> str:
        return self._prefix + "".join(parts)

    def _run(self, name: str, arguments: Sequence[Any]) -> Any:
        clock = "" if self._clock is None else repr(self._clock())
        with self._errors():
            return self._scripts[name](keys=[], args=[self._prefix, clock, *arguments])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> Unavailable:
        options = self._client.connection_pool.connection_kwargs
        host = f"{options.get('host', 'sentinel')}:{options.get('port', '')}".rstrip(":")
        reason = str(error).splitlines()[0][:200] if str(error) else ""
        return Unavailable(f"Redis at {host}: {type(error).__name__} {reason}".rstrip(), host=host)


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _entries_of(answer: Any) -> list[Any]:
    """Return the entries of a read, whichever protocol version the connection speaks."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (value,) = answer.values()
        return list(value[0]) if value and isinstance(value[0], list) else list(value)
    return list(answer[0][1])


def _json(data: Any) -> bytes:
    return orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS)


def _failure(failure: Failure) -> bytes:
    return orjson.dumps(
        {
            "category": failure.category.value,
            "error": failure.error,
            "message": failure.message,
            "stage": failure.stage.value,
            "at": failure.at,
            "status": failure.status,
            "host": failure.host,
            "reason": failure.reason,
        }
    )


def _outcome(outcome: Outcome) -> list[Any]:
    record = outcome.record
    what, to, rows, affinity, delay = "", "", b"", "", 0.0
    failure: bytes = b""
    spawn: tuple[NewRecord, ...] = ()
    data: Any = outcome.data
    match outcome:
        case Advance():
            what, to, rows = "advance", outcome.stage.value, outcome.rows
            affinity, delay, spawn = outcome.affinity, outcome.delay, outcome.spawn
        case Retried():
            what, delay, failure = "retry", outcome.delay, _failure(outcome.failure)
        case Waited():
            what, delay, failure = "wait", outcome.delay, _failure(outcome.failure)
        case Buried():
            what, rows, spawn = "bury", outcome.rows, outcome.spawn
            failure = _failure(outcome.failure)
    arguments: list[Any] = [
        what, record.id, record.lease, record.stage.value, to,
        "" if data is None else orjson.dumps(data), rows, affinity, delay, failure, len(spawn),
    ]  # fmt: skip
    for new in spawn:
        arguments += [
            new.id, new.kind.value, new.stage.value, orjson.dumps(new.data), new.trace,
            int(new.revive),
        ]  # fmt: skip
    return arguments


def _claimed(fields: list[bytes], stage: Stage, lease: str, now: float) -> Record:
    id_, kind, data, attempts, tries, trace, admitted, waiting, rows, state = fields
    return Record(
        id=id_.decode(),
        kind=Kind(kind.decode()),
        stage=stage,
        data=orjson.loads(data),
        lease=lease,
        attempts=int(attempts or 0),
        tries=int(tries or 0),
        trace=trace.decode(),
        admitted_at=float(admitted),
        waited_seconds=max(0.0, now - float(waiting)) if waiting else 0.0,
        rows=rows,
        state=State(state.decode()),
    )


def _history(fields: dict[str, bytes]) -> tuple[dict[str, Any], ...]:
    lines = fields.get("h", b"").split(b"\n")
    return tuple(orjson.loads(line) for line in lines if line)


def _letter(id_: str, fields: dict[str, bytes]) -> DeadLetter:
    told = orjson.loads(fields["f"])
    failure = Failure(
        category=ErrorCategory(told["category"]),
        error=told["error"],
        message=told["message"],
        stage=Stage(told["stage"]),
        at=float(told["at"]),
        status=told.get("status"),
        host=told.get("host"),
        reason=told.get("reason", ""),
    )
    return DeadLetter(
        id=id_,
        kind=Kind(fields["k"].decode()),
        stage=Stage(fields["s"].decode()),
        failure=failure,
        died_at=float(fields["died"]),
        trace=fields.get("t", b"").decode(),
        attempts=int(fields.get("a", 0)),
        replays=int(fields.get("re", 0)),
        data=orjson.loads(fields["d"]),
        history=_history(fields),
    )


def _matches(letter: DeadLetter, match: DeadFilter) -> bool:
    return (
        (match.stage is None or letter.stage is match.stage)
        and (match.category is None or letter.failure.category is match.category)
        and (match.error is None or letter.failure.error == match.error)
        and (match.kind is None or letter.kind is match.kind)
    )


def _requeued(id_: str, fields: dict[str, bytes], stage: Stage | None) -> list[Any]:
    kind, died = Kind(fields["k"].decode()), Stage(fields["s"].decode())
    data = b""
    if kind is Kind.MEDIA:
        target = stage or Stage.DOWNLOAD
        carried = orjson.loads(fields["d"])
        for stale in ("cached", "error", "status", "uploaded_at", "blob_path", "vanished", "free"):
            carried.pop(stale, None)
        # a link from before the failure has usually ended: replaying asks for a new one
        data = orjson.dumps({**carried, "refresh": True, "refreshes": 0})
    elif died is Stage.WRITE:
        target = stage or Stage.ENRICH  # its rows were refused: they must be made again
    else:
        target = stage or died
    line = orjson.dumps({"at": time.time(), "stage": target.value, "what": "requeued"})
    return [id_, int(fields.get("re", 0)), target.value, data, line]

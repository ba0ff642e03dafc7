"""The pipeline in one picture, from the ledger and the gates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from claimx.domain.records import Census, Kind, Stage, State
from claimx.domain.times import MICROS_PER_SECOND, to_iso
from claimx.services import reconcile
from claimx.services.catch_up_report import Progress, progress_of
from claimx.services.poll_report import behind, last_failure, measure_reading, read_until
from claimx.services.runtime import Runtime
from claimx.services.standstill import CATCH_UP, STANDING_SECONDS, held_since, jam_of

_KINDS = (Kind.EVENT, Kind.MEDIA)


@dataclass(frozen=True, slots=True)
class Status:
    """
    A moment of the pipeline.

    *poll_failure* is why the last poll failed, None when it did not; *catch_up* are the gaps that
    the live poll has set aside, how far each is read, and what is left of it; *dead* counts pages
    as well, of which each holds many events that nothing else counts;
    *missing* is the invariant's difference by kind (zero, or records went astray);
    *problems* are sentences that say what is wrong and what to do.
    """

    poll_lag_seconds: float | None
    poll_failure: str | None
    catch_up: list[dict[str, Any]]
    stages: list[dict[str, Any]]
    counters: dict[str, dict[str, int]]
    active: dict[str, int]
    dead: dict[str, int]
    missing: dict[str, int]
    stream_length: int
    stream_pending: int
    circuits: dict[str, dict[str, Any]]
    processes: list[dict[str, str]]
    problems: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; numeric keys become text."""
        document = asdict(self)
        for row in document["stages"]:
            row["by_attempt"] = {str(n): count for n, count in row["by_attempt"].items()}
        return document


def export_gauges(runtime: Runtime) -> None:
    """
    Set the gauges that tell of the whole pipeline, each as the ledger has it now.

    A gauge says what its process set last, and of several machines one polls or reconciles: the
    others would tell for hours what they found when it was their turn. Raises Unavailable.
    """
    export_depths(runtime)
    measure_reading(runtime.ledger, runtime.metrics)
    reconcile.export(runtime)


def export_depths(runtime: Runtime) -> None:
    """
    Set the gauges of each stage's active records and of each kind's dead ones.

    The ledger's own counts: what it buries by itself, because its workers died, no worker counts.
    """
    census = runtime.ledger.census(ages=False)
    for stage in Stage:
        depth = sum(census.stages.get(stage, {}).values())
        runtime.metrics.set("depth", depth, stage=stage.value)
    for kind in Kind:
        runtime.metrics.set("dead_letters", census.dead.get(kind, 0), kind=kind.value)


def take_status(runtime: Runtime) -> Status:
    """Count everything once; bounded by the census."""
    census = runtime.ledger.census()
    read = read_until(runtime.ledger)
    lag = None if read is None else behind(runtime.ledger, read)
    processes = runtime.gates.processes()
    missing = {kind.value: census.missing(kind) for kind in _KINDS}
    return Status(
        poll_lag_seconds=lag,
        poll_failure=last_failure(runtime.gates),
        catch_up=[_gap(one) for one in progress_of(runtime.ledger)],
        stages=[_stage(stage, census) for stage in Stage],
        counters=_counters(census),
        active={kind.value: census.active.get(kind, 0) for kind in _KINDS},
        dead={kind.value: census.dead.get(kind, 0) for kind in Kind},
        missing=missing,
        stream_length=census.stream_length,
        stream_pending=census.stream_pending,
        circuits=runtime.gates.circuits(),
        processes=processes,
        problems=[
            *_problems(missing, processes),
            *_dead_pages(runtime, census),
            *_standstill(runtime, census),
            *(str(one) for one in runtime.diagnose_store() or []),
            *reconcile.problems(runtime),
        ],
    )


def _gap(one: Progress) -> dict[str, Any]:
    return {
        "since": to_iso(one.gap.after),
        "until": to_iso(one.gap.until),
        "share": round(one.share, 4),
        "left_seconds": one.left_seconds,
        "rows_left": one.gap.rows,
    }


def _stage(stage: Stage, census: Census) -> dict[str, Any]:
    return {
        "stage": stage.value,
        **{
            state.value: census.stages.get(stage, {}).get(state, 0)
            for state in (State.READY, State.LEASED, State.RETRYING, State.WAITING)
        },
        "oldest_seconds": census.oldest_seconds.get(stage, 0.0),
        "by_attempt": dict(census.by_attempts.get(stage, {})),
    }


def _counters(census: Census) -> dict[str, dict[str, int]]:
    """Return the counters by kind and by what became of it."""
    counters: dict[str, dict[str, int]] = {}
    for name, count in census.counters.items():
        kind, _, what = name.partition(".")
        counters.setdefault(kind, {})[what] = count
    return counters


def _dead_pages(runtime: Runtime, census: Census) -> list[str]:
    """Say that pages died: their events were never admitted, so the invariant holds without."""
    count = census.dead.get(Kind.PAGE, 0)
    held = f"with up to {count * runtime.limits.poll_batch} events that no other number counts"
    remedy = "mend what claimx dlq ls --kind page tells, then claimx dlq requeue --kind page"
    return [f"dead pages: {count}, {held}: {remedy}"] if count else []


def _standstill(runtime: Runtime, census: Census) -> list[str]:
    """Say that the poll or the catch-up is held, or that the poll will be, and by what."""
    jam, most = jam_of(runtime, census), runtime.limits.max_in_flight
    told = f"({jam.in_flight} in flight, CLAIMX_MAX_IN_FLIGHT={most}): {jam}"
    since = held_since(runtime)
    if since is not None:
        return [f"the poll pauses since {to_iso(since)} {told}"]
    if jam.in_flight >= most:
        return [f"the poll will pause {told}"]
    since = held_since(runtime, CATCH_UP)
    if since is not None and runtime.ledger.now() - since / MICROS_PER_SECOND >= STANDING_SECONDS:
        return [f"the catch-up pauses since {to_iso(since)} {told}"]
    return []


def _problems(missing: dict[str, int], processes: list[dict[str, str]]) -> list[str]:
    found = [
        f"{abs(count)} {kind} records {'went astray' if count > 0 else 'are counted twice'}:"
        " admitted differs from recorded + unhandled + dead + active"
        for kind, count in missing.items()
        if count
    ]
    roles = {process.get("role") for process in processes}
    found.extend(
        f"no {role} is running: start one with its Procfile line"
        for role in ("worker", "writer", "beat")
        if role not in roles
    )
    return found

"""What goes wrong and when: drawn from a seed, so that a run can be had again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

HEAD_SECONDS = 8.0  # until the first trouble: the processes have just started
CALM_SHARE = 0.06  # of the run, at its end, without new trouble
HEAVY_PAUSE = 40.0  # seconds from one heavy trouble to the next
LONG_RUN = 600.0  # seconds from which freezes take as long as they do in the field


@dataclass(frozen=True, slots=True)
class Kind:
    """
    A kind of trouble; *weight* is how often it is drawn.

    *seconds* is the range in which its length is drawn, where it has one. Heavy ones stop
    everybody, and are kept apart; *scarce* ones come once in so many seconds at the most.
    """

    weight: float
    seconds: tuple[float, float] = (0.0, 0.0)
    heavy: bool = False
    scarce: float = 0.0


KINDS: Mapping[str, Kind] = {
    # processes
    "kill a child": Kind(34),
    "kill a worker": Kind(12),
    "kill a writer": Kind(14),
    "kill a beat": Kind(12),
    "kill web": Kind(1, scarce=60),
    "stop a worker": Kind(4),
    "stop a writer": Kind(4),
    "stop a beat": Kind(3),
    "stop web": Kind(0.5, scarce=60),
    "freeze a worker": Kind(1.5, (5, 25)),
    "freeze a writer": Kind(1.5, (5, 25)),
    # Redis
    "redis killed": Kind(1.5, (0.2, 4), heavy=True),
    "redis frozen": Kind(0.5, (40, 40), heavy=True),
    "redis connections cut": Kind(3),
    "redis refuses writes": Kind(1.5, (2, 10), heavy=True),
    "redis copied": Kind(2),
    "redis put back": Kind(0.6, heavy=True, scarce=120),
    "redis emptied": Kind(0.3, heavy=True, scarce=600),
    # servers
    "api fails": Kind(1.5, (3, 12)),
    "api slow": Kind(1, (3, 12)),
    "api cut short": Kind(1, (3, 12)),
    "api refuses the token": Kind(0.7, (3, 10)),
    "api shows a page": Kind(1, (3, 12)),
    "kusto fails": Kind(1.5, (3, 12)),
    "kusto slow": Kind(1, (3, 12)),
    "kusto errs in its last frame": Kind(2, (3, 15)),
    "kusto cut short": Kind(1, (3, 12)),
    "media fail": Kind(1.5, (3, 12)),
    "media cut short": Kind(1, (3, 12)),
    "media slow": Kind(1, (3, 12)),
    "media show a log-in page": Kind(1, (2, 6)),
    "onelake fails": Kind(1.5, (3, 10)),
    "onelake slow": Kind(1, (3, 12)),
    "flushes done and answered 500": Kind(1.5, (3, 12)),
    "commits fail": Kind(1.5, (3, 12)),
    "commits done and answered 500": Kind(2, (3, 12)),
    "commits done and never answered": Kind(1.5, (3, 12)),
    "lake full": Kind(1, (3, 8)),
    "cache full": Kind(1, (35, 50)),  # processes count what others put there every 30 s
    # hints
    "hints doubled": Kind(3),
    "hints lost": Kind(2),
    "hints delayed": Kind(2),
    "hints reordered": Kind(2),
    "hints malformed": Kind(3),
    # people and schedules
    "two pollers": Kind(1, scarce=10),
    "requeue": Kind(1, scarce=10),
    "maintenance": Kind(1.5, scarce=5),
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong *at* seconds after the start; *chance* decides whatever is open."""

    at: float
    kind: str
    seconds: float = 0.0
    chance: float = field(default=0.0)


def plan(seed: int, seconds: float, pace: float) -> list[Trouble]:
    """
    Return the troubles of a run of *seconds*, one every *pace* seconds on the average.

    Every kind comes once before any is drawn by weight, as far as the run is long enough. What
    needs a copy of Redis is preceded by one; nothing is put back or emptied near the end, because
    what comes back from the lake takes its time.
    """
    rng = Random(f"chaos {seed}")
    end = seconds * (1 - CALM_SHARE)
    first = [name for name in KINDS if name not in {"redis copied", "redis put back"}]
    rng.shuffle(first)
    first[1:1] = ["redis copied"]
    first[len(first) // 3 : len(first) // 3] = ["redis put back"]
    troubles: list[Trouble] = []
    free: dict[str, float] = {}
    moment, heavy_free = HEAD_SECONDS, HEAD_SECONDS
    while moment < end:
        name = _next(rng, first, free, moment, heavy_free, calm=moment > seconds * 0.7)
        kind = KINDS[name]
        length = rng.uniform(*kind.seconds)
        if name == "redis frozen" and seconds < LONG_RUN:
            length /= 5
        troubles.append(Trouble(round(moment, 3), name, round(length, 3), rng.random()))
        if kind.heavy:
            pause = min(HEAVY_PAUSE, seconds / 12)
            heavy_free = moment + length + pause
        if kind.scarce:
            free[name] = moment + min(kind.scarce, seconds / 3)
        moment += rng.uniform(0.2, 1.8) * pace
    return troubles


def _next(
    rng: Random,
    first: list[str],
    free: dict[str, float],
    moment: float,
    heavy_free: float,
    *,
    calm: bool,
) -> str:
    def fits(name: str) -> bool:
        if calm and name in {"redis emptied", "redis put back"}:
            return False
        return moment >= free.get(name, 0.0) and (not KINDS[name].heavy or moment >= heavy_free)

    for name in first:
        if fits(name):
            first.remove(name)
            return name
    names = [name for name in KINDS if fits(name)]
    return rng.choices(names, [KINDS[name].weight for name in names])[0]


def fault(kind: str, chance: float) -> list[dict[str, Any]]:
    """Return the sandbox's faults that a kind of trouble means; none for the other kinds."""
    share = round(0.15 + 0.6 * chance, 2)
    everywhere: Mapping[str, list[dict[str, Any]]] = {
        "api fails": [
            {"where": "api", "kind": "unavailable", "share": share},
            {"where": "api", "kind": "throttle", "share": 0.2, "seconds": 1},
            {"where": "api", "kind": "reset", "share": 0.2},
        ],
        "api slow": [{"where": "api", "kind": "slow", "share": share, "seconds": 4}],
        "api cut short": [{"where": "api", "kind": "cut", "share": share}],
        "api refuses the token": [{"where": "api", "kind": "unauthorized"}],
        "api shows a page": [{"where": "api", "kind": "html", "share": share}],
        "kusto fails": [
            {"where": "kusto", "kind": "error", "share": share},
            {"where": "kusto", "kind": "throttle", "share": 0.5},
        ],
        "kusto slow": [{"where": "kusto", "kind": "slow", "share": share, "seconds": 5}],
        "kusto errs in its last frame": [{"where": "kusto", "kind": "completion", "share": share}],
        "kusto cut short": [{"where": "kusto", "kind": "cut", "share": share}],
        "media fail": [
            {"where": "media", "kind": "error", "share": share},
            {"where": "media", "kind": "reset", "share": 0.2},
        ],
        "media cut short": [{"where": "media", "kind": "cut", "share": share}],
        "media slow": [{"where": "media", "kind": "trickle", "share": share, "seconds": 4}],
        "media show a log-in page": [
            {"where": "media", "kind": "login", "share": share / 2, "each": 1}
        ],
        "onelake fails": [
            {"where": "onelake", "kind": "error", "share": share / 2, "path": "/Files/"},
            {"where": "onelake", "kind": "unavailable", "share": share / 4},
            {"where": "onelake", "kind": "reset", "share": 0.05},
        ],
        "onelake slow": [{"where": "onelake", "kind": "slow", "share": 0.2, "seconds": 2}],
        "flushes done and answered 500": [
            {"where": "onelake", "kind": "done_error", "share": share, "path": "/Files/"}
        ],
        "commits fail": [
            {"where": "onelake", "kind": "error", "share": share, "path": "_delta_log/.*json"}
        ],
        "commits done and answered 500": [
            {"where": "onelake", "kind": "done_error", "share": share, "path": "_delta_log/.*json"}
        ],
        "commits done and never answered": [
            {"where": "onelake", "kind": "done_reset", "share": share, "path": "_delta_log/.*json"}
        ],
        "lake full": [{"where": "onelake", "kind": "full", "path": "/Tables/"}],
    }
    return everywhere.get(kind, [])

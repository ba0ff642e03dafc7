"""
One thing at a time, under load: how long until the work moves on, and what is left behind.

``make drill HOW=kill TIMES=25`` kills each kind of process so often, and Redis;
``make drill HOW=stop TIMES=100`` ends each process type by SIGTERM. The last line is JSON.
Exit 0 only when nothing is lost, doubled or wrong, nobody was late to leave and nothing was left
that waits for a time-out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import redis
from ends import interruptible
from fleet import Fleet, Post, posts
from pipeline_rig import Rig
from recovery import Held, leases_gone, ticked_on, work_moves
from redis_server import RedisServer
from run import SETTINGS
from verdict import judge

GRACE_SECONDS = 25.0
LOAD_SECONDS = 60.0  # for a victim to have work in hand
PAUSE_SECONDS = 1.5
RECOVERED_SECONDS = 70.0
AWAY_SECONDS = 3.0
VICTIMS = {
    "kill": ("child", "worker", "worker's parent", "writer", "beat", "redis"),
    "stop": ("worker", "writer", "beat", "web"),
}


@dataclass(slots=True)
class Drill:
    """What was measured: seconds by victim, and sentences on what was left behind."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    left: list[str] = field(default_factory=list)


class Ground:
    """The pipeline under steady load, on which one victim after the other falls."""

    def __init__(self, rig: Rig, fleet: Fleet, server: RedisServer, rng: Random) -> None:
        self.rig = rig
        self.fleet = fleet
        self.server = server
        self.drill = Drill()
        self._held = Held(server.client)
        self._rng = rng

    def wait(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Look after the fleet until *done*, at most so many seconds; says whether it was."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.fleet.look_after()
            try:
                if done():
                    return True
            except redis.RedisError:
                pass
            time.sleep(0.05)
        return False

    def all_posts_work(self) -> bool:
        """Say whether every process has announced itself, so that spares are there."""
        names = {one["name"] for one in self.rig.runtime.gates.processes()}
        return all(
            post.alive and any(name.endswith(f":{post.running.pid}") for name in names)
            for post in self.fleet.posts
            if post.running is not None
            and post.type not in {"web", "beat"}  # a spare beat is silent
        )

    def kill(self, victim: str) -> None:
        """Kill one, and wait until what it held up moves on."""
        if victim == "redis":
            self.server.kill()
            self.wait(AWAY_SECONDS)
            self.server.start()
            self._measure(victim, work_moves(self.server.client))
            return
        type_ = "worker" if victim in {"child", "worker's parent"} else victim
        post, pids = self._busy(type_)
        if victim == "child":
            holding = [pid for pid in pids[1:] if self._held.by([pid])]
            killed = held_by = holding[:1] or pids[1:2]
        else:
            killed, held_by = (pids[:1] if victim == "worker's parent" else pids), pids
        moved = (
            ticked_on(self.server.client)
            if type_ == "beat"
            else leases_gone(self._held, self._held.by(held_by))
        )
        self.fleet.closed = True  # a spare must take over: the dead are not started again before
        self.fleet.kill(killed)
        self._measure(victim, moved)
        self.fleet.closed = False
        for pid in set(pids) - set(killed) if victim == "worker's parent" else ():
            if not self.wait(GRACE_SECONDS, lambda pid=pid: not _lives(pid)):
                self.drill.left.append(f"child {pid} outlived its worker {post.name}")
                self.fleet.kill([pid])

    def stop(self, victim: str) -> None:
        """Tell one to stop; it must be gone in time and leave nothing that waits for a time-out."""
        post, pids = self._busy(victim)
        running = post.running
        if running is None:
            return
        started = time.monotonic()
        running.terminate()
        status = running.wait(GRACE_SECONDS)
        self.drill.seconds[victim].append(time.monotonic() - started)
        if status != 0:
            self.drill.left.append(f"{post.name} ended with {status} (None: not in time)")
            running.kill()
        for what, found in self._traces(pids).items():
            if found:
                self.drill.left.append(f"{post.name} left {what}: {found[:3]}")

    def _measure(self, victim: str, moved: Callable[[], bool]) -> None:
        started = time.monotonic()
        if not self.wait(RECOVERED_SECONDS, moved):
            self.drill.left.append(f"{victim}: nothing moved for {RECOVERED_SECONDS:g} s")
        self.drill.seconds[victim].append(time.monotonic() - started)

    def _busy(self, type_: str) -> tuple[Post, list[int]]:
        """Return a post of the type, one with work in hand if there is any, and its processes."""
        chosen: list[tuple[Post, list[int]]] = []

        def look() -> bool:
            found = [(post, self.fleet.pids(post)) for post in self.fleet.of_type(type_)]
            chosen[:] = [one for one in found if self._held.by(one[1])] or (
                found if type_ in {"beat", "web"} else []
            )
            return bool(chosen)

        if not self.wait(LOAD_SECONDS, look):
            chosen[:] = [(post, self.fleet.pids(post)) for post in self.fleet.of_type(type_)]
        return self._rng.choice(chosen)

    def _traces(self, pids: list[int]) -> dict[str, list[str]]:
        """Return what processes that are gone still hold: leases, locks, API slots."""
        client, ends = self.server.client, tuple(f":{pid}" for pid in pids)
        locks = [
            key.decode()
            for key in client.scan_iter("claimx:gate:lock:*", count=1000)
            if (client.hget(key, "holder") or b"").decode().endswith(ends)
        ]
        slots = [
            one.decode()
            for one in client.zrange("claimx:gate:slots:api", 0, -1)
            if one.decode().partition("/")[0].endswith(ends)
        ]
        return {"leases": sorted(self._held.by(pids)), "locks": locks, "API slots": slots}


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def carry_out(how: str, times: int, seed: int, rate: float, folder: Path) -> tuple[Drill, dict]:
    """Drill every victim *times* times; returns what was measured and the verdict's figures."""
    victims = VICTIMS[how]
    per_round = 12.0 if how == "kill" else 7.0
    events = max(400, int(rate * times * len(victims) * per_round))
    world = ["--events", str(events), "--seed", str(seed), "--rate", str(rate)]
    world += ["--media-min", "300", "--media-max", "12000", "--latency-ms", "200"]
    world += ["--at", str(int(time.time()) + 12 + events // 2000)]
    rig = Rig(folder, *world, settings=SETTINGS)
    server = RedisServer(folder / "redis", rig.port, folder / "redis.log")
    try:
        server.start()
        rig.start(with_redis=False)
        fleet = Fleet(rig, posts(rig), restart_seconds=0.5)
        ground = Ground(rig, fleet, server, Random(seed))
        ground.wait(30.0, ground.all_posts_work)
        for number in range(times):
            for victim in victims:
                ground.wait(40.0, ground.all_posts_work)
                ground.wait(PAUSE_SECONDS)
                getattr(ground, how)(victim)
            _tell(f"{number + 1} of {times}: {_line(ground.drill)}; left {ground.drill.left[-3:]}")
        verdict = judge(rig, fleet, 300.0, _tell)
        for line in verdict.told:
            _tell(line)
        found = {"events": verdict.events, "lost": verdict.lost, "doubled": verdict.doubled}
        return ground.drill, found | {"wrong": verdict.wrong}
    finally:
        rig.stop()
        server.kill()


def _line(drill: Drill) -> str:
    parts = []
    for victim, seconds in drill.seconds.items():
        ordered = sorted(seconds)
        parts.append(f"{victim} {ordered[len(ordered) // 2]:.1f}/{ordered[-1]:.1f} s")
    return ", ".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Drill; 0 when all is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--how", choices=sorted(VICTIMS), default="kill")
    parser.add_argument("--times", type=int, default=25)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=float, default=25.0)
    options = parser.parse_args(arguments)
    interruptible()
    folder = Path(tempfile.mkdtemp(prefix="claimx-drill-"))
    drill, found = carry_out(options.how, options.times, options.seed, options.rate, folder)
    out = [f"{'victim':<20}{'times':>6}{'median s':>10}{'worst s':>9}"]
    for victim, seconds in drill.seconds.items():
        ordered = sorted(seconds)
        middle, worst = ordered[len(ordered) // 2], ordered[-1]
        out.append(f"{victim:<20}{len(ordered):>6}{middle:>10.1f}{worst:>9.1f}")
    times = sorted(one for seconds in drill.seconds.values() for one in seconds)
    figures = {"how": options.how, "seed": options.seed, **found, "left": len(drill.left)}
    figures |= {"times": len(times), "p50_s": round(times[len(times) // 2], 1)}
    figures["max_s"] = round(times[-1], 1)
    sys.stdout.write("\n".join([*out, *drill.left[:20], json.dumps(figures)]) + "\n")
    good = not (found["lost"] or found["doubled"] or found["wrong"] or drill.left)
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _tell(f"everything lies in {folder}")
    return 0 if good else 1


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

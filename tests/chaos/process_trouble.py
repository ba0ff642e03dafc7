"""Processes that are killed, told to stop, frozen, or started by somebody beside the others."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from random import Random

import redis
from ends import End, NoVictim, over
from fleet import Fleet, Post, children
from pipeline_rig import ROOT, Rig
from recovery import Held, Recoveries, leases_gone, ticked_on

COMMANDS = {
    "two pollers": (("poll", "once"), ("poll", "once")),
    "requeue": (("dlq", "requeue", "--all", "--yes"),),
}


class ProcessTrouble:
    """Trouble for the processes of *fleet*; *kills* counts those that were ended by SIGKILL."""

    def __init__(self, rig: Rig, fleet: Fleet, client: redis.Redis, recoveries: Recoveries) -> None:
        self._rig = rig
        self._fleet = fleet
        self._client = client
        self._recoveries = recoveries
        self._held = Held(client)
        self._commands: list[subprocess.Popen[bytes]] = []
        self.kills = 0

    def begin(self, kind: str, rng: Random) -> End | None:
        """
        Do *kind*; None when no such process lives to be stopped or frozen.

        Raises NoVictim when none lives to be killed.
        """
        if kind in COMMANDS:
            for arguments in COMMANDS[kind]:
                self._command(*arguments)
            return over
        what, *_, victim = kind.split()
        if victim == "child":
            return self._kill_child(rng)
        posts = self._fleet.of_type(victim)
        if not posts:
            if what == "kill":
                raise NoVictim
            return None
        post = rng.choice(posts)
        match what:
            case "kill":
                pids = self._fleet.pids(post)
                # as when a machine dies, or as when the kernel picks one process
                return self._kill(pids if rng.random() < 0.6 else pids[:1], victim, pids)
            case "freeze":
                return self._freeze(post)
        self._recoveries.taint(victim)
        if post.running is not None:
            post.running.terminate()
        return over

    def close(self) -> None:
        """End the commands that still run."""
        for command in self._commands:
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(30)
            if command.poll() is None:
                command.kill()
                command.wait(5)

    def _kill_child(self, rng: Random) -> End | None:
        busy = self._leases()
        pids = [
            pid
            for post in self._fleet.of_type("worker")
            if post.running is not None
            for pid in children(post.running.pid)
        ]
        if not pids:
            raise NoVictim
        working = [pid for pid in pids if any(f":{pid}:" in lease for lease in busy.values())]
        chosen = [rng.choice(working or pids)]
        return self._kill(chosen, "child", chosen)

    def _leases(self) -> dict[str, str]:
        try:
            return self._held.now()
        except redis.RedisError:
            return {}

    def _kill(self, killed: list[int], type_: str, held_by: list[int]) -> End:
        self._recoveries.taint(type_)
        moved, leases = None, {}
        with contextlib.suppress(redis.RedisError):  # it is away: they are killed all the same
            moved = ticked_on(self._client) if type_ == "beat" else None
            leases = self._held.by(held_by)
        self._fleet.kill(killed)
        self.kills += 1
        if moved is not None:
            self._recoveries.watch(type_, moved)
        elif leases:
            self._recoveries.watch(type_, leases_gone(self._held, leases))
        return over

    def _freeze(self, post: Post) -> End:
        pids = self._fleet.pids(post)
        leases = self._held.by(pids)
        self._recoveries.taint(post.type)
        self._fleet.signal(pids, signal.SIGSTOP)
        if leases:
            self._recoveries.watch(f"frozen {post.type}", leases_gone(self._held, leases))
        return lambda: self._fleet.signal(pids, signal.SIGCONT)

    def _command(self, *arguments: str) -> None:
        self._commands = [one for one in self._commands if one.poll() is None]
        with (self._rig.folder / "commands.log").open("ab") as output:
            self._commands.append(
                subprocess.Popen(
                    [sys.executable, "-m", "claimx", *arguments],
                    cwd=ROOT,
                    env=self._rig.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

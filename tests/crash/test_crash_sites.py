"""The list of crash points: what gets into it, and that nothing new stays out of it."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import sys
import textwrap
import threading

import points
import pytest
from doors import CLOSING, DOORS, HARMLESS, is_classified
from effects import LOOKING_SCRIPTS, PORT_EFFECTS, PORT_LOOKS, words
from false_alarms import FALSE_ALARMS
from finder import Site, instrumented
from gaps import Gaps
from points import HOOK, Dying, Recorder, crash_site
from sites import ROOT, all_sites, false_alarms_met, names, sites_of, sources

FEWEST = 150  # sites; far fewer would mean that the finder has gone blind


def found(source: str, module: str = "claimx.services.toy") -> list[str]:
    """Return the effects that are found in a toy module."""
    return [site.effect for site in sites_of(textwrap.dedent(source), module)]


# --- what is an effect ----------------------------------------------------------------------


def protocols() -> dict[str, set[str]]:
    """Return the methods of every Protocol of the pipeline, by its name."""
    return {
        node.name: {
            one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for _, path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).partition("[")[0] == "Protocol" for base in node.bases)
    }


def test_every_method_of_every_port_is_an_effect_or_a_look():
    """A new one must be put into one of the two lists of tests/crash/effects.py."""
    said = {
        name: set(PORT_EFFECTS.get(name, ())) | set(PORT_LOOKS.get(name, ()))
        for name in PORT_EFFECTS.keys() | PORT_LOOKS.keys()
    }

    assert said == protocols()
    assert not [
        name for name in said if PORT_EFFECTS.get(name, set()) & PORT_LOOKS.get(name, set())
    ]


def test_every_library_that_is_imported_has_been_looked_at():
    """A new one is a door with its looks, or harmless for a reason."""
    unknown = set()
    for module, path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names_):
                    imported = [one.name for one in names_]
                case ast.ImportFrom(module=str(above), level=0):
                    imported = [above]
                case _:
                    continue
            unknown |= {
                f"{one} in {module}"
                for one in imported
                if one.partition(".")[0] != "claimx" and not is_classified(one)
            }

    assert unknown == set()
    assert all(HARMLESS.values())


def test_no_listed_look_is_a_word_that_its_library_does_not_offer():
    """A list that grew stale would hide a word that comes back with another meaning."""
    for door in DOORS:
        offered = {name for thing in door.things for name in dir(thing)}
        assert door.looks - offered - CLOSING - _of_other_versions(door.library) == set()


def _of_other_versions(library: str) -> frozenset[str]:
    """Return looks that only newer or older Pythons have."""
    return {
        "pathlib": words("walk with_segments from_uri full_match is_junction is_reserved"),
        "os": words("nullcontext"),
        "shutil": words("nullcontext"),
    }.get(library, frozenset())


def test_the_scripts_that_only_look_write_nothing(redis_client):
    """They are run where Redis itself refuses every write."""
    from claimx.adapters.ledger.scripts import source_of

    arguments = {
        "active_media": ["m:1"],
        "census": ["10", "enrich"],
        "dead_letters": ["", "", "", "", "10", "", "ids", "e:1"],
        "find": ["e:1"],
        "gaps": ["live"],
        "states": ["e:1"],
        "waiting_pages": ["live", "10"],
        "seen": ["e:1"],
    }
    assert arguments.keys() == LOOKING_SCRIPTS
    for name, rest in arguments.items():
        redis_client.eval_ro(source_of(name), 1, "{claimx:0}", "", *rest)
        own = (ROOT / "claimx/adapters/ledger/lua" / f"{name}.lua").read_text()
        assert not re.search(
            r"\b(flush|store|save|put|drop|remove|spawn|create|bury|enlist|remember)\(", own
        ), name


# --- what becomes a site --------------------------------------------------------------------


def test_the_pipeline_has_its_sites_and_each_has_a_name_of_its_own():
    sites = all_sites()

    assert len(sites) > FEWEST
    assert len(set(names(sites))) == len(sites)
    stages = {site.module.partition(".")[2] for site in sites if site.module.startswith("services")}
    assert stages >= words("ingest chunk download upload flush write redrive recover poll backfill")


def test_one_more_effect_in_the_code_is_one_more_site():
    """In each module that has some: a line is added to a function, and the list is longer."""
    for module, path in sources():
        source = path.read_text()
        before = names(sites_of(source, module))

        more = source + "\n\ndef more(thing):\n    thing.ledger.settle([])\n"

        assert len(sites_of(more, module)) == len(before) + 1, module


@pytest.mark.parametrize(
    ("source", "effect"),
    [
        ("def f(self): self._runtime.ledger.settle([])", "ledger.settle"),
        ("def f(alias): alias.settle([])", "alias.settle"),
        ("async def f(x): await asyncio.to_thread(x.ledger.settle, [])", "ledger.settle"),
        ("def f(x): return [x.store.put(one) for one in x.all]", "store.put"),
        ("def f(x): later = x.lake.upsert", "lake.upsert"),
        ("def f(x): return getattr(x.gates, 'unlock')('name')", "gates.unlock"),
        ("def f(x): return lambda: x.hints.send('enrich', [])", "hints.send"),
        ("def f(redis): redis.set('key', 1)", "redis.set"),
        ("def f(anything): anything.zadd('key', {})", "anything.zadd"),
        ("def f(pipe): pipe.execute()", "pipe.execute"),
        ("import os\ndef f(a, b): os.replace(a, b)", "os.replace"),
        ("from os import replace\ndef f(a, b): replace(a, b)", "replace"),
        ("from os import replace as move\ndef f(a): run(move, a)", "move"),
        ("import shutil as s\ndef f(a): s.rmtree(a)", "s.rmtree"),
        ("def f(path): path.unlink()", "path.unlink"),
        ("def f(path): path.write_text('x')", "path.write_text"),
        ("def f(path): path.open('ab')", "path.open"),
        ("def f(path, mode): path.open(mode)", "path.open"),
        ("def f(path): open(path, 'w')", "open"),
        ("def f(path): open(path, mode='r+')", "open"),
        ("def f(file): file.write(b'')", "file.write"),
        ("from deltalake import write_deltalake\ndef f(t): write_deltalake(t)", "write_deltalake"),
        ("def f(table): table.merge(1).when_matched_update_all().execute()", "merge.execute"),
        ("def f(table): table.optimize.z_order(['a'])", "optimize.z_order"),
        ("def f(table): table.restore(3)", "table.restore"),
        ("def f(client): client.rename_file('x')", "client.rename_file"),
        ("def f(app): app.send_task('x')", "app.send_task"),
        ("def f(session): session.put('https://x')", "session.put"),
        ("def f(scripts): scripts['settle'](keys=[])", "scripts[]"),
        ("def f(self): self._redis.run('settle', 1)", "redis.run[settle]"),
        (
            "class A:\n  def f(self):\n    self._files = self.make()\n    self._files.append(1)",
            "files.append",
        ),
    ],
)
def test_an_effect_is_found_however_it_is_used(source, effect):
    assert found(source) == [effect]


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n  found = []\n  found.append(1)\n  found.sort()",
        "def f(names: dict[str, int]): names.update(a=1)",
        "def f(text: str): return text.replace('a', 'b')",
        "def f(text): return text.strip().replace('a', 'b')",
        "from collections import deque\ndef f():\n  queue = deque()\n  queue.append(1)",
        "class A:\n def __init__(self): self.x: list[str] = []\n def f(self): self.x.append(1)",
        "import threading\ndef f():\n  over = threading.Event()\n  over.set()",
        "from claimx.domain.changes import Enrichment\ndef f(e: Enrichment): e.changes.append(1)",
        "def f(path): path.open('rb')",
        "def f(path): open(path)",
        "def f(ledger): ledger.census()",
        "def f(x: Settle) -> Unlink: pass",
        "def f(self): self._redis.run('census', 1)",
        "import os\ndef f(p): os.open(p, os.O_RDONLY)",
    ],
)
def test_plain_data_and_looks_are_no_sites(source):
    assert found(source) == []


def test_a_container_that_may_be_something_else_is_not_taken_for_one():
    source = """
        def f(client):
            found = []
            if client:
                found = client
            found.append("key", 1)
    """

    assert found(source) == ["found.append"]


def test_every_false_alarm_is_still_one_and_says_why():
    assert all(FALSE_ALARMS.values())
    assert FALSE_ALARMS.keys() - false_alarms_met() == set()


# --- what a site does -----------------------------------------------------------------------


def run(source: str, **names_: object) -> dict[str, object]:
    """Run a toy module with its hooks; returns its globals."""
    tree, _ = instrumented(textwrap.dedent(source), "toy")
    scope: dict[str, object] = {HOOK: crash_site, **names_}
    exec(compile(tree, "toy", "exec"), scope)  # noqa: S102 - the toy's own source
    return scope


@pytest.fixture
def met() -> list[str]:
    recorder = Recorder()
    points.watch(recorder)
    yield recorder.met
    points.watch(lambda _: None)


class Ledger:
    """Settles, or fails at it."""

    def __init__(self, log: list) -> None:
        self.log = log

    def settle(self, what: str) -> str:
        self.log.append(what)
        if what == "bad":
            raise ValueError(what)
        return what

    async def fetch(self, what: str) -> str:
        await asyncio.sleep(0)
        self.log.append(what)
        return what


def test_a_site_is_passed_before_and_after_its_effect(met):
    scope = run("def f(ledger): return ledger.settle('x')")

    assert scope["f"](Ledger(met)) == "x"
    assert [one if isinstance(one, str) else one[0] for one in met] == [
        "toy:f ledger.settle #1 before",
        "x",
        "toy:f ledger.settle #1 after",
    ]


def test_an_effect_that_raises_was_passed_all_the_same(met):
    scope = run("def f(ledger): ledger.settle('bad')")

    with pytest.raises(ValueError, match="bad"):
        scope["f"](Ledger([]))
    assert [point for point, _ in met] == [
        "toy:f ledger.settle #1 before",
        "toy:f ledger.settle #1 after",
    ]


def test_an_awaited_effect_is_over_when_it_was_awaited(met):
    scope = run("async def f(x): return await x.fetch('x')")

    assert asyncio.run(scope["f"](Ledger(met))) == "x"
    assert [one if isinstance(one, str) else one[0] for one in met] == [
        "toy:f x.fetch #1 before",
        "x",
        "toy:f x.fetch #1 after",
    ]


def test_an_effect_that_is_handed_on_is_passed_where_it_runs(met):
    scope = run("def f(x, start): start(x.settle)")
    started: list[threading.Thread] = []

    def start(act):
        thread = threading.Thread(target=act, args=("x",))
        thread.start()
        thread.join()
        started.append(thread)

    scope["f"](Ledger([]), start)

    assert {thread for _, thread in met} == {started[0].ident}


def test_a_process_dies_at_its_point_of_a_signal_that_nobody_catches(tmp_path):
    scope = run("def f(ledger):\n  ledger.settle('x')\n  ledger.settle('y')")
    child = os.fork()
    if child == 0:
        file = (tmp_path / "log").open("w", buffering=1)

        class Log(list):
            def append(self, what):
                file.write(what)
                file.flush()

        points.watch(Dying("toy:f ledger.settle #2 before"))
        scope["f"](Ledger(Log()))
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert (tmp_path / "log").read_text() == "x"


def test_production_knows_nothing_of_crash_points():
    mentions = [
        str(path)
        for path in (ROOT / "claimx").rglob("*.py")
        if HOOK in path.read_text() or "tests/crash" in path.read_text()
    ]

    assert mentions == []
    assert "crash" not in sys.modules


def test_points_between_which_nothing_lasting_happens_are_one_moment():
    main, other = 1, 2
    outer, inner = Site("m", "f", "ledger.x", 1), Site("m", "g", "scripts[]", 1, leaves=True)
    after, aside = Site("m", "f", "os.x", 1, leaves=True), Site("m", "h", "os.y", 1, leaves=True)
    recording = [
        (outer.points[0], main),
        (inner.points[0], main),
        (inner.points[1], main),
        (outer.points[1], main),
        (aside.points[0], other),
        (after.points[0], main),
        (aside.points[1], other),
        (after.points[1], main),
    ]

    share = Gaps.of(recording, [outer, inner, after, aside]).share(one for one, _ in recording)

    assert share[inner.points[0]] == [outer.points[0], inner.points[0]]
    assert share[aside.points[0]] == [inner.points[1], outer.points[1], aside.points[0]]
    assert share[after.points[0]] == [after.points[0]]  # while another effect was under way

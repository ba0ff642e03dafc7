"""The gates' contract, held by both implementations; "a" and "b" are two processes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from claimx.adapters.gates import RedisGates
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.redis_client import connect
from claimx.cli.stack import free_port
from claimx.domain.circuit import CircuitSettings
from claimx.domain.errors import Unavailable

SHORT = 0.4  # which a busy machine does not take for a few calls to Redis
OPEN_SECONDS = SHORT
TRIAL_SECONDS = 1.0
SETTINGS = CircuitSettings(open_seconds=OPEN_SECONDS, trial_seconds=TRIAL_SECONDS)
BACK_OFF = CircuitSettings(
    failures=1, open_seconds=SHORT, trials=1, successes=1, longest_open_seconds=2 * SHORT
)
STRICT = CircuitSettings(failures=1, open_seconds=0.05, trials=1, successes=2)


@dataclass
class Shared:
    """Two processes' gates over one store, and how its time passes."""

    a: Any
    b: Any
    sleep: Callable[[float], None]
    set_back: Callable[[float], None]
    """Set the store's clock back by whole seconds."""


@pytest.fixture(params=["memory", "redis"])
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    named = {"auth": BACK_OFF, "strict": STRICT}
    if request.param == "memory":
        clock = [1000.0]

        def forward(seconds: float) -> None:
            clock[0] += seconds

        gates = MemoryGates(lambda: clock[0], SETTINGS, circuits=named)
        yield Shared(gates, gates, forward, lambda seconds: forward(-seconds))
        return
    url = request.getfixturevalue("redis_url")
    clients = [redis.Redis.from_url(url), redis.Redis.from_url(url)]
    a, b = (
        RedisGates(client, "t:", SETTINGS, circuits=named, fresh_seconds=0) for client in clients
    )

    def set_back(seconds: float) -> None:
        """Nobody sets the clock of a server here: all moments in it lie that much further ahead."""
        for key in clients[0].scan_iter():
            if (left := clients[0].pttl(key)) > 0:
                clients[0].pexpire(key, left + round(seconds * 1000))
        for key in clients[0].scan_iter("t:gate:circuit:*"):
            for name in ("open_until", "trial_until"):
                clients[0].hincrby(key, name, round(seconds * 1000))

    yield Shared(a, b, time.sleep, set_back)
    for client in clients:
        client.close()


class _Losing(redis.Redis):
    """A client that can lose the answer to a script that was carried out."""

    loses_an_answer = False

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        answer = super().execute_command(*arguments, **options)
        if self.loses_an_answer and arguments[0] == "EVALSHA":
            self.loses_an_answer = False
            raise redis.TimeoutError
        return answer


def opened(shared: Shared) -> None:
    for _ in range(5):
        shared.a.circuit("api").report(0, 1)


def half_open(shared: Shared) -> None:
    opened(shared)
    shared.sleep(OPEN_SECONDS + 0.01)


def test_a_closed_circuit_lets_every_call_through(shared):
    assert shared.a.circuit("api").permit(1000) == (1000, 0.0)
    assert shared.a.circuits() == {}


def test_failures_in_a_row_are_counted_over_all_processes(shared):
    for gates in (shared.a, shared.b, shared.a, shared.b):
        gates.circuit("api").report(0, 1)
    before = shared.a.circuit("api").permit(1)

    shared.b.circuit("api").report(0, 1)

    granted, wait = shared.a.circuit("api").permit(10)
    assert before == (1, 0.0)
    assert granted == 0
    assert 0 < wait <= OPEN_SECONDS + 0.001
    assert shared.b.circuits()["api"]["state"] == "open"


def test_a_success_anywhere_begins_the_count_anew(shared):
    shared.a.circuit("api").report(0, 4)
    shared.b.circuit("api").report(1, 0)

    shared.a.circuit("api").report(0, 4)

    assert shared.a.circuit("api").permit(1) == (1, 0.0)
    assert shared.a.circuits()["api"] == {
        "state": "closed",
        "failures": 4,
        "open_for_seconds": 0.0,
    }


def test_a_report_counts_its_successes_before_its_failures(shared):
    shared.a.circuit("api").report(0, 4)

    shared.a.circuit("api").report(7, 1)

    assert shared.a.circuits()["api"]["failures"] == 1


def test_circuits_are_independent_of_each_other(shared):
    opened(shared)

    assert shared.a.circuit("onelake").permit(1) == (1, 0.0)


def test_half_open_hands_out_three_trials_in_total(shared):
    half_open(shared)

    first, _ = shared.a.circuit("api").permit(2)
    second, wait = shared.b.circuit("api").permit(20)
    third, _ = shared.a.circuit("api").permit(1)

    assert (first, second, third) == (2, 1, 0)
    assert wait > 0
    assert shared.a.circuits()["api"]["state"] == "half-open"


def test_two_trial_successes_close_it_for_everybody(shared):
    half_open(shared)
    shared.a.circuit("api").permit(3)

    shared.a.circuit("api").report(1, 0)
    after_one, _ = shared.b.circuit("api").permit(5)
    shared.b.circuit("api").report(1, 0)

    assert after_one == 0
    assert shared.b.circuit("api").permit(5) == (5, 0.0)
    assert shared.a.circuits() == {}


def test_more_successes_than_trials_are_never_asked_for(shared):
    """Two settings that do not fit each other would keep it open for ever."""
    strict = shared.a.circuit("strict")
    strict.report(0, 1)
    shared.sleep(0.06)
    strict.permit(1)

    strict.report(1, 0)

    assert strict.permit(5) == (5, 0.0)


def test_one_trial_failure_opens_it_again(shared):
    half_open(shared)
    shared.a.circuit("api").permit(3)
    shared.a.circuit("api").report(1, 0)

    shared.b.circuit("api").report(0, 1)

    granted, wait = shared.a.circuit("api").permit(1)
    assert granted == 0
    assert 0 < wait <= OPEN_SECONDS + 0.001


def test_trials_that_were_out_when_it_opened_again_are_handed_out_anew(shared):
    """And what they had brought is forgotten: two of the new ones must go well."""
    half_open(shared)
    shared.a.circuit("api").permit(3)
    shared.a.circuit("api").report(1, 0)
    shared.a.circuit("api").report(0, 1)

    shared.sleep(OPEN_SECONDS + 0.01)

    assert shared.b.circuit("api").permit(5)[0] == 3
    shared.b.circuit("api").report(1, 0)
    assert shared.a.circuits()["api"]["state"] == "half-open"


def test_trials_are_out_for_as_long_however_long_ago_the_first_ones_were(shared):
    half_open(shared)
    shared.a.circuit("api").permit(3)
    shared.a.circuit("api").report(0, 1)
    shared.sleep(TRIAL_SECONDS + 0.01)  # the first ones would be handed out anew by now

    assert shared.a.circuit("api").permit(3)[0] == 3
    assert shared.b.circuit("api").permit(3)[0] == 0


def test_no_more_successes_count_than_trials_are_out(shared):
    """The others are of calls that began before it opened."""
    half_open(shared)
    shared.a.circuit("api").permit(1)

    shared.b.circuit("api").report(5, 0)

    assert shared.a.circuits()["api"]["state"] == "half-open"
    assert shared.b.circuit("api").permit(9)[0] == 2


def test_outcomes_of_calls_that_began_before_it_opened_change_nothing(shared):
    opened(shared)
    shared.a.circuit("api").report(5, 0)
    while_open, _ = shared.a.circuit("api").permit(1)
    shared.sleep(OPEN_SECONDS + 0.01)

    shared.a.circuit("api").report(0, 3)  # nobody has a trial yet

    assert while_open == 0
    assert shared.a.circuit("api").permit(5)[0] == 3


def test_a_trial_without_a_verdict_can_be_given_back(shared):
    half_open(shared)
    shared.a.circuit("api").permit(3)

    shared.a.circuit("api").give_back(1)

    assert shared.b.circuit("api").permit(5)[0] == 1


def test_no_more_trials_come_back_than_are_out(shared):
    """Calls that began before it opened are given back as well; a trial's success stays."""
    half_open(shared)
    shared.a.circuit("api").permit(3)
    shared.a.circuit("api").report(1, 0)

    shared.b.circuit("api").give_back(9)

    assert shared.b.circuit("api").permit(5)[0] == 2


def test_trials_of_a_process_that_died_are_handed_out_anew(shared):
    half_open(shared)
    shared.a.circuit("api").permit(3)
    shared.a.circuit("api").report(1, 0)
    while_out = shared.b.circuit("api").permit(1)[0]

    shared.sleep(TRIAL_SECONDS + 0.01)

    assert while_out == 0
    assert shared.b.circuit("api").permit(5)[0] == 3
    shared.b.circuit("api").report(1, 0)
    assert shared.a.circuits()["api"]["state"] == "half-open", "one of these went well so far"


def test_an_open_circuit_lets_trials_through_when_the_clock_was_set_back(shared):
    """It would be open for as long as the jump, and all that waits for it likewise."""
    opened(shared)
    shared.set_back(3600)

    assert shared.a.circuits()["api"] == {
        "state": "half-open",
        "failures": 5,
        "open_for_seconds": 0.0,
    }
    assert shared.b.circuit("api").permit(9)[0] == 3
    shared.b.circuit("api").report(0, 1)
    assert shared.a.circuits()["api"]["state"] == "open"


def test_trials_are_handed_out_anew_when_the_clock_was_set_back(shared):
    half_open(shared)
    shared.a.circuit("api").permit(3)
    shared.set_back(3600)

    assert shared.b.circuit("api").permit(9)[0] == 3


def test_the_auth_door_opens_for_one_probe_at_a_time_at_growing_distances(shared):
    auth_a, auth_b = shared.a.circuit("auth"), shared.b.circuit("auth")
    auth_a.report(0, 1)
    first_wait = auth_b.permit(1)[1]
    shared.sleep(SHORT + 0.01)
    probes = [auth_a.permit(1)[0], auth_b.permit(1)[0]]
    auth_a.report(0, 1)
    second_wait = auth_b.permit(1)[1]
    shared.sleep(2 * SHORT + 0.01)
    auth_b.permit(1)
    auth_b.report(1, 0)

    assert probes == [1, 0]
    assert 0 < first_wait <= SHORT + 0.0001 < second_wait <= 2 * SHORT + 0.0001
    assert auth_a.permit(9) == (9, 0.0)


def test_slots_are_never_more_than_the_limit_over_all_processes(shared):
    a = shared.a.take_slots("api", 15, 20, "a")
    b = shared.b.take_slots("api", 15, 20, "b")

    assert len(a) == 15
    assert len(b) == 5
    assert len(set(a + b)) == 20
    assert shared.a.take_slots("api", 1, 20, "c") == []


def test_slots_given_back_are_free_at_once(shared):
    slots = shared.a.take_slots("api", 3, 3, "a")

    shared.a.free_slots("api", slots[:2])

    assert len(shared.b.take_slots("api", 3, 3, "b")) == 2


def test_renewing_says_which_slots_are_still_held(shared):
    slots = shared.a.take_slots("api", 2, 5, "a")
    shared.a.free_slots("api", slots[:1])

    assert shared.a.renew_slots("api", slots) == slots[1:]
    assert shared.a.renew_slots("api", []) == []


def test_while_one_process_waits_the_other_keeps_no_more_than_its_share(shared):
    slots = shared.a.take_slots("api", 10, 10, "a")
    alone = shared.a.fair_share("api", 10, "a")
    shared.b.take_slots("api", 8, 10, "b")  # gets none: it waits

    share = shared.a.fair_share("api", 10, "a")
    shared.a.free_slots("api", slots[:2])

    assert (alone, share) == (10, 5)
    assert shared.a.take_slots("api", 2, 10, "a") == []
    assert len(shared.b.take_slots("api", 8, 10, "b")) == 2


def test_a_process_that_got_what_it_waited_for_holds_nobody_to_a_share(shared):
    slots = shared.a.take_slots("api", 3, 3, "a")
    shared.b.take_slots("api", 1, 3, "b")
    share = shared.a.fair_share("api", 3, "a")
    shared.a.free_slots("api", slots[:1])
    got = shared.b.take_slots("api", 1, 3, "b")

    assert (share, len(got)) == (2, 1), "a share is rounded up: none gets nothing"
    assert shared.a.fair_share("api", 3, "a") == 3


def test_a_process_that_has_its_share_holds_nobody_to_one(shared):
    shared.a.take_slots("api", 5, 10, "a")
    shared.b.take_slots("api", 5, 10, "b")

    assert shared.b.take_slots("api", 3, 10, "b") == []

    assert shared.a.fair_share("api", 10, "a") == 10


def test_tokens_come_at_the_rate_over_all_processes(shared):
    first, _ = shared.a.take_tokens("api", 5, 2.5)
    second, wait = shared.b.take_tokens("api", 5, 2.5)
    shared.sleep(wait + 0.002)

    third, _ = shared.a.take_tokens("api", 1, 2.5)

    assert first == 1  # a tenth of a second's worth, and one at the least
    assert second == 0
    assert 0 < wait <= 0.401
    assert third == 1
    assert shared.a.take_tokens("api", 7, 0.0) == (7, 0.0)


def test_tokens_that_nobody_took_are_no_burst_later(shared):
    shared.a.take_tokens("api", 1, 10.0)

    shared.sleep(0.35)

    assert shared.b.take_tokens("api", 5, 10.0)[0] == 1


def test_a_lock_is_one_holders_and_its_fence_grows_with_every_take(shared):
    first = shared.a.lock("poll", "a", SHORT)
    refused = shared.b.lock("poll", "b", SHORT)
    extended = shared.a.lock("poll", "a", SHORT)
    shared.sleep(SHORT + 0.02)
    after_expiry = shared.b.lock("poll", "b", 5)
    shared.b.unlock("poll", "b")
    again = shared.a.lock("poll", "a", 5)

    assert refused is None
    assert extended == first
    assert first < after_expiry < again


def test_a_lock_that_is_extended_lasts_so_much_longer(shared):
    shared.a.lock("poll", "a", 0.05)
    shared.a.lock("poll", "a", 5)

    shared.sleep(0.06)

    assert shared.b.lock("poll", "b", 5) is None


def test_a_dead_holders_lock_ends_in_its_time_though_the_clock_was_set_back(shared):
    shared.a.lock("poll", "a", 0.05)
    shared.set_back(3600)
    refused = shared.b.lock("poll", "b", 0.05)
    shared.sleep(0.06)

    assert refused is None
    assert shared.b.lock("poll", "b", 0.05) is not None


def test_a_living_holders_lock_is_its_own_when_the_clock_was_set_back(shared):
    first = shared.a.lock("poll", "a", 5)
    shared.set_back(3600)
    refused = shared.b.lock("poll", "b", 5)

    assert refused is None
    assert shared.a.lock("poll", "a", 5) == first
    assert shared.b.lock("poll", "b", 5) is None


def test_nobody_unlocks_what_another_holds(shared):
    shared.a.lock("poll", "a", 5)

    shared.b.unlock("poll", "b")

    assert shared.b.lock("poll", "b", 5) is None


def test_known_projects_are_forgotten_after_their_time(shared):
    shared.a.mark_known({"1": None, "2": "=Müller"}, SHORT)
    shared.a.mark_known({"3": "MFN"}, 0)
    known = shared.b.known_projects(["1", "2", "3", "4"])
    shared.sleep(SHORT + 0.02)

    assert known == {"1": None, "2": "=Müller"}
    assert shared.b.known_projects(["1", "2"]) == {}
    assert shared.b.known_projects([]) == {}


def test_a_known_project_has_the_name_that_was_said_last(shared):
    for names in ({"1": "OLD", "2": "GONE"}, {"1": "NEW", "2": None}):
        shared.a.mark_known(names, 5)

    assert shared.b.known_projects(["1", "2"]) == {"1": "NEW", "2": None}


def test_processes_are_seen_until_their_announcement_ends(shared):
    shared.a.beat("worker", "host:1", {"health": "127.0.0.1:9"}, SHORT)
    shared.a.beat("beat", "host:2", {}, 5)
    both = shared.b.processes()
    shared.sleep(SHORT + 0.02)

    assert both == [
        {"role": "beat", "name": "host:2"},
        {"role": "worker", "name": "host:1", "health": "127.0.0.1:9"},
    ]
    assert [info["name"] for info in shared.b.processes()] == ["host:2"]


def test_notes_are_kept_by_topic_and_name(shared):
    shared.a.put_note("reconcile", "monday", "two missing", 60)
    shared.b.put_note("reconcile", "tuesday", "üçé", 60)
    shared.a.put_note("another", "monday", "x", 60)
    shared.b.put_note("reconcile", "monday", "one missing", 60)

    assert shared.a.notes("reconcile") == {"monday": "one missing", "tuesday": "üçé"}
    assert shared.a.notes("nothing") == {}


def test_notes_can_be_dropped(shared):
    for name in "abc":
        shared.a.put_note("reconcile", name, name, 60)

    shared.b.drop_notes("reconcile", ["a", "c", "unknown"])
    shared.b.drop_notes("nothing", ["a"])
    shared.b.drop_notes("reconcile", [])

    assert shared.a.notes("reconcile") == {"b": "b"}


def test_notes_go_when_none_of_their_topic_was_put_for_so_long(shared):
    shared.a.put_note("reconcile", "a", "a", SHORT)
    shared.a.put_note("reconcile", "b", "b", 3 * SHORT)
    shared.sleep(1.5 * SHORT)
    assert shared.b.notes("reconcile") == {"a": "a", "b": "b"}

    shared.sleep(1.6 * SHORT)

    assert shared.b.notes("reconcile") == {}


def test_a_lease_that_another_holds_is_none_and_a_store_that_is_away_raises(shared, away):
    """Who has lost a lease ends at once; who cannot ask waits for the store."""
    shared.a.lock("poll", "a", 5)

    assert shared.b.lock("poll", "b", 5) is None
    for _ in range(2):  # the second is told without asking
        with pytest.raises(Unavailable, match="whose the lease poll is"):
            away.lock("poll", "b", 5)


@pytest.fixture(params=["memory", "redis"])
def away(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Gates whose store is not there."""
    if request.param == "memory":
        gates = MemoryGates(lambda: 1000.0)
        gates.away = True
        yield gates
        return
    client = connect(f"redis://127.0.0.1:{free_port()}/0", "", quick=True)
    yield RedisGates(client)
    client.close()


def test_without_its_store_circuits_are_closed_and_nothing_scarce_is_promised(away):
    circuit = away.circuit("api")
    circuit.report(0, 50)
    circuit.give_back(1)

    assert circuit.permit(7) == (7, 0.0)
    assert away.circuits() == {}
    assert away.take_slots("api", 5, 20, "a") == []
    assert away.renew_slots("api", ["a/1"]) == []
    assert away.take_tokens("api", 1, 10.0)[0] == 0
    assert away.fair_share("api", 20, "a") == 20
    assert away.known_projects(["1"]) == {}
    away.beat("worker", "host:1", {}, 5)
    assert away.processes() == []
    assert away.notes("reconcile") == {}
    away.put_note("reconcile", "a", "a", 5)
    away.drop_notes("reconcile", ["a"])
    assert away.notes("reconcile") == {}
    away.mark_known({"1": None}, 5)
    assert away.known_projects(["1"]) == {}
    away.free_slots("api", ["a/1"])
    away.unlock("poll", "a")


def test_a_redis_that_stalls_is_asked_once_and_then_left_alone_for_a_moment():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0.01)
        client = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", "", quick=True)
        gates = RedisGates(client)

        answers = [gates.circuit(f"media:{n}").permit(1) for n in range(100)]

        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()
        client.close()
    assert answers == [(1, 0.0)] * 100


def test_a_lease_is_given_back_though_redis_did_not_answer_a_moment_ago(redis_url):
    """Else it stands to its end: a recovery, an upkeep or a reconcile would wait for minutes."""
    client = redis.Redis.from_url(redis_url)
    gates = RedisGates(client)
    gates.lock("recover", "me", 300)

    def times_out() -> None:
        raise redis.TimeoutError

    gates._try(times_out, None)
    gates.unlock("recover", "me")

    assert RedisGates(client).lock("recover", "another", 300) is not None
    client.close()


def test_a_fence_grows_though_redis_was_emptied(redis_url):
    """Those that were given before must be shut out by those that come now."""
    client = redis.Redis.from_url(redis_url)
    gates = RedisGates(client)
    before = gates.lock("poll", "a", 5)
    client.flushall()
    time.sleep(0.002)

    after = gates.lock("poll", "b", 5)
    client.close()

    assert before < after


def test_no_lease_leaves_a_key_for_good(redis_url):
    """Each range of a backfill has a lease of its own."""
    client = redis.Redis.from_url(redis_url)
    gates = RedisGates(client)
    gates.lock("poll:backfill:a..b", "a", 5)
    gates.unlock("poll:backfill:a..b", "a")

    left = {key: client.ttl(key) for key in client.scan_iter()}
    client.close()

    assert list(left) == [b"claimx:gate:fence:poll:backfill:a..b"]
    assert 29 * 86_400 < min(left.values()) <= 30 * 86_400


def test_slots_of_a_process_that_died_are_free_again(redis_url):
    """Each has a lease of its own; another's that is alive keeps the key."""
    client = redis.Redis.from_url(redis_url)
    gates = RedisGates(client)

    def ends(slots: list[str], at_ms: float, key: str = "slots:api") -> None:
        client.zadd(f"claimx:gate:{key}", dict.fromkeys(slots, at_ms), xx=True)

    alive, dead = gates.take_slots("api", 1, 4, "a"), gates.take_slots("api", 3, 4, "dead")
    ends(dead, 1)
    got = gates.take_slots("api", 4, 4, "b")
    none = gates.take_slots("api", 1, 4, "waits")
    shares = [gates.fair_share("api", 4, "a")]
    ends(["waits"], 1, "waiting:api")
    shares.append(gates.fair_share("api", 4, "a"))
    ends(got, 1)
    seconds, micros = client.time()
    ends(alive, seconds * 1000 + micros / 1000 + 1000 * SHORT)
    gates.renew_slots("api", alive)
    time.sleep(SHORT + 0.01)
    kept = gates.renew_slots("api", [*alive, *got])
    client.close()

    assert (len(got), none, shares) == (3, [], [2, 4])
    assert kept == alive


def test_slots_are_kept_for_as_long_as_the_last_of_them_is_leased(redis_url):
    """Were they to go all at once, as many more would be given than there are."""
    client = redis.Redis.from_url(redis_url)
    gates, key = RedisGates(client), "claimx:gate:slots:api"
    slots = gates.take_slots("api", 1, 4, "a")
    client.pexpire(key, 5000)
    gates.take_slots("api", 1, 4, "b")
    taken = client.pttl(key)
    client.pexpire(key, 5000)

    gates.renew_slots("api", slots)

    renewed = client.pttl(key)
    client.close()
    assert min(taken, renewed) > 10_000


def test_a_closed_verdict_is_believed_for_a_moment_without_asking_redis(redis_url):
    client = redis.Redis.from_url(redis_url)
    circuit = RedisGates(client, fresh_seconds=30).circuit("api")
    circuit.permit(1)
    before = client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)

    for _ in range(100):
        circuit.permit(1)
        circuit.report(1, 0)

    after = client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    client.close()
    assert after == before


def test_an_open_verdict_is_believed_until_it_opens_and_a_half_open_one_never(redis_url):
    client = redis.Redis.from_url(redis_url)
    circuit = RedisGates(client, circuit=SETTINGS, fresh_seconds=30).circuit("api")
    circuit.report(0, 5)
    shut, _ = circuit.permit(1)
    time.sleep(OPEN_SECONDS + 0.01)

    trials = [circuit.permit(1)[0] for _ in range(4)]
    client.close()

    assert (shut, trials) == (0, [1, 1, 1, 0])


def test_a_success_is_reported_at_once_while_there_are_failures_to_clear(redis_url):
    client = redis.Redis.from_url(redis_url)
    gates = RedisGates(client, fresh_seconds=30)
    gates.circuit("api").report(0, 4)

    gates.circuit("api").report(1, 0)

    assert RedisGates(client).circuits() == {}
    client.close()


def test_slots_whose_return_or_grant_was_lost_are_not_lost_themselves(redis_url):
    """A time-out on a loaded machine leaked all slots for their 60 s lease: nothing moved then."""
    client = _Losing.from_url(redis_url)
    gates = RedisGates(client)
    held = gates.take_slots("api", 3, 3, "me")
    dead = redis.Redis(port=1, socket_connect_timeout=0.1)
    gates._client = dead
    gates.free_slots("api", held)
    gates._client = client
    gates._asking.ask_again()

    again = gates.take_slots("api", 3, 3, "me")

    assert len(again) == 3
    gates.free_slots("api", again)
    client.loses_an_answer = True
    assert gates.take_slots("api", 3, 3, "me") == []
    gates._asking.ask_again()
    assert len(gates.take_slots("api", 3, 3, "me")) == 3

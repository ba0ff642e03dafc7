"""What the door and the API's circuit owe each other (domain page, sections 2 and 6)."""

from __future__ import annotations

import pytest

from claimx.adapters.api_gate import APIGate
from claimx.adapters.api_token import TokenSource
from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.circuit import AUTH, AUTH_SETTINGS, CircuitSettings
from claimx.domain.errors import CircuitOpen, NotFound, TokenRejected, Unavailable

SOON = AUTH_SETTINGS.open_seconds
OPEN = 10.0
assert AUTH_SETTINGS.trial_seconds > OPEN, "a lost place would be free again by itself"


class Process:
    """
    A process whose gates go by a clock that a test moves; its circuit opens at one failure.

    One trial at a time asks whether it may close. *beside* is a process with the same gates.
    """

    def __init__(self, token: TokenSource | None = None, beside: Process | None = None) -> None:
        self.now = 1000.0
        settings = CircuitSettings(failures=1, open_seconds=OPEN, trials=1)
        self.gates = beside.gates if beside else MemoryGates(lambda: self.now, settings)
        self.gate = APIGate(self.gates, "api", token or TokenSource("secret"), "api.example")

    def call(self, error=None, what="/project/1"):
        """Make a call for *what* that ends with *error*."""
        self.gate.pass_through(1)
        if error is None:
            self.gate.succeeded(self.gate.token())
        else:
            self.gate.failed(error, self.gate.token(), what, self.gate.accepted)

    def is_refused(self, what, accepted=None):
        """Make a call that a 401 ends, begun when so many were *accepted*; say if that shut."""
        error = TokenRejected("401", status=401)
        accepted = self.gate.accepted if accepted is None else accepted
        self.gate.pass_through(1)
        self.gate.failed(error, self.gate.token(), what, accepted)
        return self.gates.circuits().get(AUTH, {}).get("state") == "open"


@pytest.fixture
def process():
    made = Process()
    made.call(TokenRejected("401", status=401))
    made.now += 2 * SOON
    return made


def test_a_probe_that_meets_a_failing_api_leaves_its_place_to_the_next(process):
    """It has not learnt whether the token is accepted; else nobody would ask for a while."""
    process.call(Unavailable("503", status=503))
    process.now += OPEN

    process.call()


def test_a_probe_that_meets_an_open_circuit_leaves_its_place_to_the_next(process):
    process.call(Unavailable("503", status=503))
    process.now += OPEN - 1
    with pytest.raises(CircuitOpen):
        process.call()
    process.now += 1

    process.call()


def test_an_accepted_token_opens_the_door_for_all(process):
    process.call()

    process.gate.pass_through(1)
    process.gate.pass_through(1)


def test_one_probe_at_a_time_asks_while_the_token_is_in_doubt(process):
    process.gate.pass_through(1)

    with pytest.raises(TokenRejected):
        process.gate.pass_through(1)


def test_a_probe_that_is_told_nothing_leaves_its_place_to_the_next(process):
    process.call(NotFound("404", status=404))

    process.call()


def test_a_trial_of_the_circuit_that_a_401_ends_leaves_its_place_to_the_next():
    """Whether the API is well is not known by it; nobody could ask for a minute."""
    process = Process()
    process.call(Unavailable("503", status=503))
    process.now += OPEN
    process.call(TokenRejected("401", status=401))
    process.now += 2 * SOON

    process.call()


def test_a_probe_of_a_process_without_a_token_leaves_its_place_to_another(process, tmp_path):
    other = Process(TokenSource(file=str(tmp_path / "missing")), beside=process)
    other.gate.pass_through(1)
    with pytest.raises(TokenRejected) as none:
        other.gate.token()

    other.gate.failed(none.value, "", "/project/1", 0)

    assert none.value.retry_after == 10
    process.call()


def test_a_probe_that_finds_a_new_token_in_its_file_leaves_its_place_to_it(process, tmp_path):
    file = tmp_path / "token"
    file.write_text("new")
    other = Process(TokenSource(file=str(file)), beside=process)
    other.gate.pass_through(1)
    error = TokenRejected("401", status=401)

    other.gate.failed(error, "old", "/project/1", 0)

    assert error.retry_after == 0.1
    process.call()


def test_a_process_that_meets_a_shut_door_reads_its_token_again(process, tmp_path):
    """Another one was refused; it would try the next probe with what it has."""
    file = tmp_path / "token"
    file.write_text("old")
    other = Process(TokenSource(file=str(file)), beside=process)
    assert other.gate.token() == "old"
    file.write_text("new")
    assert other.gate.token() == "old"
    process.gate.pass_through(1)

    with pytest.raises(TokenRejected):
        other.gate.pass_through(1)

    assert other.gate.token() == "new"


@pytest.mark.parametrize(("asked", "told"), [(None, SOON), (0.5, SOON), (20.0, 20.0)])
def test_a_401_is_waited_for_as_long_as_the_door_is_shut_or_the_api_asked(asked, told):
    error = TokenRejected("401", retry_after=asked, status=401)

    Process().call(error)

    assert error.retry_after == told


def test_probes_ask_at_doubling_distances_up_to_half_a_minute():
    process = Process()
    waits = []
    for _ in range(7):
        error = TokenRejected("401", status=401)
        process.call(error)
        waits.append(error.retry_after)
        process.now += error.retry_after

    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_project_that_is_kept_from_us_stops_the_others_once_however_often_it_is_asked_for():
    """Its events asked again for three days, and each time everybody else had to wait."""
    process = Process()
    process.call()

    assert process.is_refused("/project/2"), "it may be the token's"
    process.now += 2 * SOON
    for _ in range(5):
        process.call()
        assert not process.is_refused("/project/2")


def test_nor_do_many_of_them_among_answers_that_are_accepted():
    """Calls run side by side: others are accepted between the beginning of one and its 401."""
    process = Process()
    process.call()
    for number in range(20):
        begun = process.gate.accepted
        process.call()
        assert not process.is_refused(f"/project/{number}", begun)


def test_what_was_refused_before_stops_nobody_when_it_is_asked_for_with_others_like_it():
    process = Process()
    kept = [f"/project/{number}" for number in range(20)]
    for what in kept:
        process.call()
        process.is_refused(what)
        process.now += 2 * SOON
    process.call()

    assert not any(process.is_refused(what) for what in kept)


def test_a_token_that_ends_shuts_the_door_with_the_first_call_that_begins_behind_that():
    """Until an answer is accepted one probe at a time asks (domain page, section 6)."""
    process = Process()
    process.call()

    assert process.is_refused("/project/1")


def test_one_that_was_refused_before_is_no_excuse_for_ever():
    """Whatever was refused alone once: after a token's end nothing but probes may ask."""
    process = Process()
    process.call()
    process.is_refused("/project/2")
    process.now += 2 * SOON
    process.call()

    shut = [process.is_refused("/project/2"), process.is_refused("/project/2")]

    assert shut == [False, True]


def test_a_token_that_was_never_accepted_shuts_the_door_at_once(tmp_path):
    """Nor does it help a new one that the last one was."""
    file = tmp_path / "token"
    file.write_text("old")
    process = Process(TokenSource(file=str(file)))
    process.call()
    file.write_text("new")
    process.is_refused("/project/1")

    assert process.is_refused("/project/2")


def test_a_probe_for_what_is_kept_from_us_leaves_its_place_to_the_next():
    """Nobody else could ask meanwhile, and each time for longer."""
    process = Process()
    process.call()
    process.is_refused("/project/2")
    process.now += 2 * SOON
    process.call()
    assert Process(beside=process).is_refused("/project/2"), "it has seen no answer yet"
    process.now += 2 * SOON

    assert not process.is_refused("/project/2")
    process.call()
    assert process.gates.circuits() == {}

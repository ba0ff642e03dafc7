"""What the door and the API's circuit owe each other (domain page, sections 2 and 6)."""

from __future__ import annotations

import pytest

from claimx.adapters.api_gate import APIGate
from claimx.adapters.api_token import TokenSource
from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.circuit import AUTH_SETTINGS, CircuitSettings
from claimx.domain.errors import CircuitOpen, TokenRejected, Unavailable

SOON = AUTH_SETTINGS.open_seconds
OPEN = 10.0
assert AUTH_SETTINGS.trial_seconds > OPEN, "a lost place would be free again by itself"


class Process:
    """A process whose gates go by a clock that a test moves; its circuit opens at one failure."""

    def __init__(self) -> None:
        self.now = 1000.0
        gates = MemoryGates(lambda: self.now, CircuitSettings(failures=1, open_seconds=OPEN))
        self.gate = APIGate(gates, "api", TokenSource("secret"), "api.example")

    def call(self, error=None):
        """Make a call that ends with *error*."""
        self.gate.pass_through(1)
        if error is None:
            self.gate.succeeded()
        else:
            self.gate.failed(error, self.gate.token())


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

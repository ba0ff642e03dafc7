"""Arithmetic of the back-off and of the circuit, for any input."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from claimx.adapters.asked_to_wait import retry_after
from claimx.domain.circuit import CircuitBreaker, CircuitSettings, CircuitState
from claimx.domain.errors import CircuitOpen, Throttled, TokenRejected, Unavailable
from claimx.domain.redaction import LONGEST, redact
from claimx.domain.retry import MAX_RETRY_AFTER_SECONDS, GiveUp, Retry, RetryPolicy, Wait

chance = st.floats(0, 1, exclude_max=True)
policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 20),
    base_seconds=st.floats(0.001, 1000),
    max_seconds=st.floats(1000, 100_000),
    wait_max_seconds=st.floats(1, 1_000_000),
)


@given(policies, st.integers(0, 10_000), chance)
def test_a_back_off_is_at_least_the_base_and_at_most_the_cap(policy, attempts, jitter):
    decision = policy.decide(Unavailable("x"), attempts, jitter=jitter)

    if attempts >= policy.max_retries:
        assert decision == GiveUp("retries exhausted")
    else:
        assert isinstance(decision, Retry)
        assert min(policy.base_seconds, policy.max_seconds) <= decision.delay
        assert decision.delay <= policy.max_seconds


@given(policies, st.integers(0, 18), chance)
def test_a_later_attempt_never_comes_sooner(policy, attempts, jitter):
    sooner = policy.decide(Unavailable("x"), attempts, jitter=jitter)
    later = policy.decide(Unavailable("x"), attempts + 1, jitter=jitter)

    if isinstance(later, Retry):
        assert isinstance(sooner, Retry)
        assert sooner.delay <= later.delay


@given(policies, st.floats(0.001, 1e9), chance)
def test_nobody_comes_back_before_the_other_side_said(policy, asked, jitter):
    decision = policy.decide(Throttled("x", asked), 0, jitter=jitter)

    if isinstance(decision, Retry):
        assert min(asked, MAX_RETRY_AFTER_SECONDS) <= decision.delay
        assert decision.delay <= 1.1 * MAX_RETRY_AFTER_SECONDS


@given(
    policies, st.sampled_from([TokenRejected, CircuitOpen]), st.integers(0, 99), st.floats(0, 1e7)
)
def test_a_wait_ends_by_age_alone(policy, error, attempts, waited):
    decision = policy.decide(error("x"), attempts, waited_seconds=waited)

    assert isinstance(decision, GiveUp if waited >= policy.wait_max_seconds else Wait)


@given(st.text(max_size=60), st.floats(0, 4e9))
def test_no_header_breaks_the_parsing_and_no_delay_is_beyond_the_bound(header, now):
    delay = retry_after(header, now)

    assert delay is None or 0 < delay <= MAX_RETRY_AFTER_SECONDS


@given(st.text(max_size=2000))
def test_redacted_text_is_one_bounded_line(text):
    redacted = redact(text)

    assert len(redacted) <= LONGEST
    assert "\n" not in redacted


class CircuitMachine(RuleBasedStateMachine):
    """Any order of permits, outcomes, lost callers and time keeps the circuit's promises."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = CircuitSettings(trial_seconds=30.0)
        self.circuit = CircuitBreaker(self.settings)
        self.now = 0.0
        self.trials = 0
        self.handed_at = 0.0

    def _follow(self, before: CircuitState) -> None:
        if before is CircuitState.HALF_OPEN and self.circuit.state(self.now) is not before:
            self.trials = 0

    @rule(count=st.integers(1, 50))
    def permit(self, count):
        state = self.circuit.state(self.now)
        granted, wait = self.circuit.permit(count, self.now)
        match state:
            case CircuitState.CLOSED:
                assert (granted, wait) == (count, 0.0)
            case CircuitState.OPEN:
                assert granted == 0
                assert 0 < wait <= self.settings.open_seconds
            case CircuitState.HALF_OPEN:
                if self.now >= self.handed_at + self.settings.trial_seconds:
                    self.trials = 0
                self.trials += granted
                if granted:
                    self.handed_at = self.now
                assert granted <= count
                assert self.trials <= self.settings.trials
                assert (granted == count) == (wait == 0.0)

    @rule(successes=st.integers(0, 3), failures=st.integers(0, 3))
    def report(self, successes, failures):
        before = self.circuit.state(self.now)
        self.circuit.report(successes, failures, self.now)
        self._follow(before)

    @rule(count=st.integers(1, 2))
    def give_back(self, count):
        if self.circuit.state(self.now) is CircuitState.HALF_OPEN:
            self.circuit.give_back(count)
            self.trials = self.circuit.trials

    @rule(seconds=st.sampled_from([0.125, 10.0, 31.0, 61.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @invariant()
    def a_closed_circuit_has_fewer_failures_than_open_it(self):
        if self.circuit.state(self.now) is CircuitState.CLOSED:
            assert self.circuit.failures < self.settings.failures

    @invariant()
    def successes_never_exceed_the_trials_that_were_out(self):
        assert self.circuit.successes <= self.circuit.trials <= self.settings.trials


TestCircuit = CircuitMachine.TestCase

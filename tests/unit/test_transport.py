"""What our transport adds to kombu's."""

from __future__ import annotations

from typing import Any

import pytest

from claimx.adapters.transport import Channel, SentinelChannel


class ClosingChannel:
    """A channel whose connection has lost its settings already, as after Redis went away."""

    do_restore = True

    def conn_or_acquire(self, _client: Any = None) -> Any:
        raise AttributeError("'NoneType' object has no attribute 'hostname'")


@pytest.mark.parametrize("channel", [Channel, SentinelChannel])
def test_hints_that_cannot_be_given_back_do_not_end_the_worker(channel):
    qos = channel.QoS(ClosingChannel())
    qos._delivered["tag"] = object()

    qos.restore_unacked_once()

    assert qos._delivered.restored

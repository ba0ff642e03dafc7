"""What is no message, or a wrong one, costs a line in a bounded list and nothing else."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from celery_message import message
from pipeline_rig import Rig, assert_as_it_must_be

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(150),
    pytest.mark.xdist_group("pipeline"),
]

UNREADABLE = "{claimx:0}:unreadable"


def envelope(body: bytes, **changes: Any) -> dict[str, Any]:
    """Return a message for a task that there is, with *changes*."""
    return message(body, **{"task": "claimx.enrich", **changes})


def body(args: Any, kwargs: Any = None) -> bytes:
    return json.dumps([args, {} if kwargs is None else kwargs, {"callbacks": None}]).encode()


def without(item: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in names}


# what no consumer could make sense of, by what is wrong with it
UNREADABLE_ITEMS: dict[str, bytes] = {
    name: item if isinstance(item, bytes) else json.dumps(item).encode()
    for name, item in {
        "no json": b"{not json",
        "no text": b"\xff\xfe\x00\x80",
        "empty": b"",
        "a number": 7,
        "null": None,
        "a list": [1, 2],
        "an object that is no envelope": {"hello": "world"},
        "an envelope without properties": without(envelope(body([["x"]])), "properties"),
        "properties that are no object": {**envelope(body([["x"]])), "properties": "text"},
        "headers that are no object": {**envelope(body([["x"]])), "headers": "text"},
        "headers that are null": {**envelope(body([["x"]])), "headers": None},
        "delivery info that is a list": {
            **envelope(b""),
            "properties": {**envelope(b"")["properties"], "delivery_info": [1]},
        },
        "a delivery tag that is an object": {
            **envelope(b""),
            "properties": {**envelope(b"")["properties"], "delivery_tag": {"a": 1}},
        },
        "an unknown body encoding": {
            **envelope(body([["x"]])),
            "properties": {**envelope(b"")["properties"], "body_encoding": "rot13"},
        },
        "a body that is no base64": {**envelope(b""), "body": "***"},
        "a body that is a number": {**envelope(b""), "body": 5},
        "a body that is no json": envelope(b"{"),
        "a body that is an object": envelope(b'{"a": 1}'),
        "a body that is a number in json": envelope(b"7"),
        "a body that is an empty list": envelope(b"[]"),
        "arguments that are a number": envelope(b"[5, {}, {}]"),
        "keyword arguments that are a list": envelope(b'[[["x"]], [1], {}]'),
        "options that are a number": envelope(b'[[["x"]], {}, 3]'),
        "an unknown task": envelope(body([["x"]]), task="claimx.gone"),
        "a task that is an object": envelope(body([["x"]]), task={"a": 1}),
        "a task that is null": envelope(body([["x"]]), task=None),
        "an expiry that is no time": envelope(body([["x"]]), expires="soon"),
        "an eta that is no time": envelope(body([["x"]]), eta="later"),
        "pickled": envelope(pickle.dumps([["x"]]), content_type="application/x-python-serialize"),
        "yaml": envelope(b"- x", content_type="application/x-yaml"),
    }.items()
}

# what a task can read, although it names nothing that anybody could work on
ODD_ARGUMENTS: dict[str, Any] = {
    "no arguments": body([]),
    "an object for ids": body([{"a": 1}]),
    "numbers for ids": body([[1, None, ["x"]]]),
    "unknown ids": body([["e:nobody", "m:nobody", "", "\u0000"]]),
    "too many arguments": body([["x"], 2, 3]),
    "unknown keywords": body([["x"]], {"surprise": 1}),
    "arguments without a list around them": body(["x"]),
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("hostile")
    with Rig(folder, "--events", "100", "--seed", "5") as one:
        yield one


def test_the_worker_outlives_every_hostile_message_and_goes_on(rig):
    worker = rig.process("worker")
    rig.until_announced("worker")

    for queue in ("enrich", "poll", "control"):
        for item in UNREADABLE_ITEMS.values():
            rig.client.lpush(queue, item)
        for content in ODD_ARGUMENTS.values():
            rig.client.lpush(queue, json.dumps(envelope(content)))
    rig.until("empty queues", lambda: not any(map(rig.client.llen, ("enrich", "poll", "control"))))
    rig.processes("beat", "writer")
    rig.until_done(60)

    assert worker.status is None
    assert_as_it_must_be(rig)
    rig.until("all kept", lambda: rig.client.llen(UNREADABLE) >= 3 * len(UNREADABLE_ITEMS))
    kept = [json.loads(one) for one in rig.client.lrange(UNREADABLE, 0, -1)]
    assert len(kept) == 3 * len(UNREADABLE_ITEMS), rig.tails()
    assert all(one["reason"] and one["kind"] in ("item", "message") for one in kept)
    rig.until("nothing unacknowledged", lambda: not rig.client.hlen("unacked"))

"""A large file that one try cannot finish: the next goes on where it ended."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time

import pytest
from media_host import JPEG, a_fetcher, an_item, answer, left_behind, serving

from claimx.adapters.cache import DiskCache
from claimx.adapters.cache_begun import WORTH_BYTES
from claimx.adapters.file_calls import FileCalls
from claimx.adapters.media_transfer import Transfer
from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.errors import DiskFull, LinkExpired, NotFound, TooLarge, Unavailable
from claimx.domain.media import Rules
from claimx.settings import DEFAULT_EXTENSIONS

pytestmark = pytest.mark.integration

MEBIBYTE = 1 << 20
FILE = JPEG[:11] + random.Random(5).randbytes(12 * MEBIBYTE)
SHA256 = hashlib.sha256(FILE).hexdigest()
PATIENT = {"max_bytes": 1 << 30, "total_seconds": 30.0, "idle_seconds": 5.0}
HASTY = PATIENT | {"total_seconds": 1.5}


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache", 1 << 30, spare_bytes=0)


def rest_of(body, tag='"v1"'):
    """Serve what is asked for of *body*."""

    def reply(head):
        asked = re.search(r"Range: bytes=(\d+)-", head)
        if asked is None:
            return answer(body, ETag=tag)
        first = int(asked[1])
        span = f"bytes {first}-{len(body) - 1}/{len(body)}"
        return answer(body[first:], 206, Content_Range=span, ETag=tag)

    return reply


def stuck_after(count, tag='"v1"'):
    """Send *count* bytes of the file, and then nothing."""
    headers = {"ETag": tag} if tag else {}
    return [answer(FILE[:count], length=len(FILE), **headers), 60.0]


def tries(cache, *answers, name=None, options=None):
    """Fetch the file once for each of *answers*; returns what each gave or raised, and the host."""

    async def run():
        found = []
        async with serving() as host:
            for number, one in enumerate(answers):
                host.answers["/photo.jpg"] = one
                last = number == len(answers) - 1
                fetcher = a_fetcher(cache, **(PATIENT if last else HASTY) | (options or {}))
                try:
                    found.append(await fetcher.fetch(an_item(host.link(), name)))
                except Exception as error:  # noqa: BLE001 - the test says which
                    found.append(error)
                finally:
                    await fetcher.close()
        return found, host

    return asyncio.run(run())


def asked_from(request):
    """Return at which byte a request's range begins, 0 for the whole."""
    found = re.search(r"Range: bytes=(\d+)-", request)
    return int(found[1]) if found else 0


@pytest.mark.parametrize(
    "count", [WORTH_BYTES + MEBIBYTE + 4096, 10 * MEBIBYTE + 17, len(FILE) - 1]
)
def test_a_file_that_takes_longer_than_a_try_has_is_gone_on_with(cache, count):
    """A file of 5 GiB needed 23 MB/s before: each try began anew, and the fifth was the last."""
    (first, file), host = tries(cache, stuck_after(count), rest_of(FILE))

    assert isinstance(first, Unavailable)
    assert 0 <= count - asked_from(host.requests[1]) <= MEBIBYTE
    assert (file.sha256, file.bytes, file.content_type) == (SHA256, len(FILE), "image/jpeg")
    assert left_behind(cache) == [file.name]
    assert (cache.folder / file.name).read_bytes() == FILE


def test_it_is_gone_on_with_again_and_again(cache):
    def a_step(head):
        first = asked_from(head)
        if not first:
            return stuck_after(WORTH_BYTES + MEBIBYTE + 4096)
        span = f"bytes {first}-{len(FILE) - 1}/{len(FILE)}"
        body = FILE[first : first + 3 * MEBIBYTE // 2]
        whole = answer(body, 206, len(FILE) - first, Content_Range=span, ETag='"v1"')
        return [whole, 60.0]

    found, host = tries(cache, a_step, a_step, a_step, rest_of(FILE))

    begins = [asked_from(one) for one in host.requests]
    assert begins == sorted(set(begins))
    assert found[-1].sha256 == SHA256


def test_another_process_of_the_node_goes_on_with_it(cache, tmp_path):
    """Also one that came later: workers are told to end while they download."""
    tries(cache, stuck_after(10 * MEBIBYTE), answer(b"", 503))
    other = DiskCache(tmp_path / "cache", 1 << 30, spare_bytes=0)

    (file,), host = tries(other, rest_of(FILE))

    assert asked_from(host.requests[0]) > WORTH_BYTES
    assert file.sha256 == SHA256


def test_a_cancelled_download_is_gone_on_with(cache):
    """A chunk gives back what it cannot finish, and each worker does when it is told to end."""

    def much_is_there():
        return any(path.stat().st_size > WORTH_BYTES for path in cache.folder.iterdir())

    async def run():
        async with serving() as host:
            host.answers["/photo.jpg"] = stuck_after(10 * MEBIBYTE)
            fetcher = a_fetcher(cache, **PATIENT)
            download = asyncio.create_task(fetcher.fetch(an_item(host.link())))
            async with asyncio.timeout(60):
                while not much_is_there():  # noqa: ASYNC110 - a file tells no event
                    await asyncio.sleep(0.01)
            download.cancel()
            await asyncio.gather(download, return_exceptions=True)
            host.answers["/photo.jpg"] = rest_of(FILE)
            try:
                return await fetcher.fetch(an_item(host.link())), host
            finally:
                await fetcher.close()

    file, host = asyncio.run(run())

    assert asked_from(host.requests[1]) > WORTH_BYTES
    assert file.sha256 == SHA256


def test_a_file_that_was_replaced_meanwhile_is_begun_anew(cache):
    other = FILE[:100] + b"other" + FILE[105:]

    (_, file), host = tries(cache, stuck_after(10 * MEBIBYTE), answer(other, ETag='"v2"'))

    assert 'If-Range: "v1"' in host.requests[1]
    assert file.sha256 == hashlib.sha256(other).hexdigest()
    assert left_behind(cache) == [file.name]


def test_what_a_host_says_no_more_of_stays_for_the_next_try(cache):
    """It was away, or asks to wait: that takes nothing from what is there."""
    found, host = tries(
        cache, stuck_after(10 * MEBIBYTE), answer(b"", 503), answer(b"", 429), rest_of(FILE)
    )

    assert [type(one).__name__ for one in found[1:3]] == ["Unavailable", "Throttled"]
    assert len(host.requests) == 4  # a 503 is no cut body, which the same try goes on with
    assert asked_from(host.requests[3]) > WORTH_BYTES
    assert found[-1].sha256 == SHA256


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (200, TooLarge)], ids=["gone", "grown"]
)
def test_what_will_never_be_a_file_leaves_nothing(cache, status, error):
    over = answer(b"", status, length=1 << 31 if status == 200 else 0)

    (_, found), _ = tries(cache, stuck_after(10 * MEBIBYTE), over)

    assert type(found) is error
    assert left_behind(cache) == []


@pytest.mark.parametrize(
    ("count", "tag"),
    [(WORTH_BYTES - MEBIBYTE, '"v1"'), (10 * MEBIBYTE, ""), (10 * MEBIBYTE, 'W/"v1"')],
    ids=["little", "no tag", "a weak tag"],
)
def test_little_and_what_nothing_identifies_is_not_kept(cache, count, tag):
    tries(cache, stuck_after(count, tag), answer(b"", 503))

    assert left_behind(cache) == []


def test_a_link_that_ends_in_the_midst_leaves_it_to_the_next_link(cache):
    """The tag says that it is the same file."""

    async def run():
        async with serving() as host:
            fetcher = a_fetcher(cache, **HASTY)
            host.answers["/photo.jpg"] = stuck_after(10 * MEBIBYTE)
            with pytest.raises(Unavailable):
                await fetcher.fetch(an_item(host.link(signed=True)))
            host.answers["/photo.jpg"] = answer(b"", 403)
            with pytest.raises(LinkExpired):
                await fetcher.fetch(an_item(host.link(signed=True)))
            host.answers["/again.jpg"] = rest_of(FILE)
            try:
                return await fetcher.fetch(an_item(host.link("/again.jpg", signed=True))), host
            finally:
                await fetcher.close()

    file, host = asyncio.run(run())

    assert asked_from(host.requests[-1]) > WORTH_BYTES
    assert file.sha256 == SHA256


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text[:-1],
        lambda text: text[: 9 * MEBIBYTE],
        lambda text: re.sub(rb'"boot":"\w', b'"boot":"z', text),
        lambda text: text.replace(b'"length":', b'"lengtj":'),
        lambda text: re.sub(rb'"length":\d', b'"length":7', text),
        lambda text: b"x" + text,
        lambda _: b"",
    ],
    ids=["cut", "no mark", "before a restart", "unknown", "another length", "longer", "empty"],
)
def test_what_may_not_be_whole_is_fetched_from_the_start(cache, harm):
    """It is not synced to the disk: after a crash of the machine there may be holes in it."""
    tries(cache, stuck_after(10 * MEBIBYTE), answer(b"", 503))
    (left,) = cache.folder.iterdir()
    left.write_bytes(harm(left.read_bytes()))

    (file,), host = tries(cache, rest_of(FILE))

    assert [asked_from(one) for one in host.requests] == [0]
    assert file.sha256 == SHA256
    assert left_behind(cache) == [file.name]


def test_it_makes_room_for_others(tmp_path):
    """Nobody works on it, so a full cache must not wait for it."""
    cache = DiskCache(tmp_path, 15 * MEBIBYTE, spare_bytes=0)
    tries(cache, stuck_after(10 * MEBIBYTE), answer(b"", 503))

    incoming = cache.begin(14 * MEBIBYTE)

    incoming.discard()
    assert left_behind(cache) == []


def test_files_that_are_there_are_not_removed_for_others(tmp_path):
    cache = DiskCache(tmp_path, 15 * MEBIBYTE, spare_bytes=0)
    (file,), _ = tries(cache, rest_of(FILE))

    with pytest.raises(DiskFull):
        cache.begin(14 * MEBIBYTE)

    assert left_behind(cache) == [file.name]


def test_its_room_is_counted_once(tmp_path):
    """A file that was begun, gone on with and removed leaves the cache as empty as it was."""
    cache = DiskCache(tmp_path, 20 * MEBIBYTE, spare_bytes=0, now=lambda: 0.0)  # counts never again
    found, _ = tries(cache, stuck_after(10 * MEBIBYTE), rest_of(FILE))
    cache.remove(found[-1].name)

    cache.begin(20 * MEBIBYTE).discard()


def test_it_is_not_read_while_the_circuit_is_open(cache):
    """Gigabytes would be read and hashed for each look at a host that is down."""
    tries(cache, stuck_after(10 * MEBIBYTE), answer(b"", 503))
    (left,) = cache.folder.iterdir()
    gates = MemoryGates(time.monotonic)
    gates.circuit("media:127.0.0.1").report(0, 5)
    before = left.stat().st_ctime_ns

    (found,), host = tries(cache, rest_of(FILE), options={"gates": gates})

    assert type(found).__name__ == "CircuitOpen"
    assert host.requests == []
    assert left.stat().st_ctime_ns == before


def test_a_try_that_ends_while_it_is_read_leaves_it_and_its_room(tmp_path):
    """The thread that reads it outlives the try, and nobody else would give back the room."""
    cache = DiskCache(tmp_path, 20 * MEBIBYTE, spare_bytes=0, now=lambda: 0.0)  # counts never again
    tries(cache, stuck_after(10 * MEBIBYTE), answer(b"", 503))
    calls = _Unstoppable()
    rules = Rules.of(DEFAULT_EXTENSIONS)

    async def run():
        transfer = Transfer(cache, calls, rules, 1 << 30, "jpg")
        going = asyncio.create_task(transfer.go_on("99"))
        await asyncio.sleep(0)
        going.cancel()
        transfer.leave("99")
        await asyncio.gather(going, return_exceptions=True)
        await calls.reading

    asyncio.run(run())

    assert [name for name in left_behind(cache) if name.endswith(".begun")] == left_behind(cache)
    (file,), host = tries(cache, rest_of(FILE))
    assert asked_from(host.requests[0]) > WORTH_BYTES
    cache.remove(file.name)
    cache.begin(20 * MEBIBYTE).discard()


def test_of_two_who_look_one_gets_it(cache):
    tries(cache, stuck_after(10 * MEBIBYTE), answer(b"", 503))

    (incoming, begun), other = cache.go_on("99"), cache.go_on("99")

    assert other is None
    assert incoming.length == begun.length
    incoming.discard()


def test_the_sweeper_does_not_take_it_for_a_file_and_removes_it_when_old(cache):
    tries(cache, stuck_after(10 * MEBIBYTE), answer(b"", 503))

    assert cache.entries(10) == []
    assert cache.sweep(3600.0) == 0
    assert cache.sweep(0.0) == 1


def test_it_is_looked_at_anew_by_the_rules_of_its_next_try(cache):
    """Another setting may forbid what was begun: the whole is asked for, and says so."""
    tries(cache, stuck_after(10 * MEBIBYTE), answer(b"", 503))

    (found,), host = tries(
        cache, rest_of(FILE), name="photo", options={"allowed_extensions": ["pdf"]}
    )

    assert type(found).__name__ == "NotAllowed"
    assert [asked_from(one) for one in host.requests] in ([], [0])
    assert left_behind(cache) == [] or not host.requests


class _Unstoppable(FileCalls):
    """Calls whose thread is at work already when they are cancelled."""

    async def run_apart(self, call, *arguments):
        self.reading = asyncio.get_running_loop().run_in_executor(None, call, *arguments)
        return await asyncio.shield(self.reading)

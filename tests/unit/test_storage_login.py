"""Requests of storage are signed in a loop, whatever identities are slow, fail or are refused."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable
from urllib.parse import quote

import pytest
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.transport import HttpRequest
from azure.storage.filedatalake._shared.authentication import SharedKeyCredentialPolicy
from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.credentials import Credentials, StorageAccess
from claimx.adapters.identity import AGAIN_SECONDS
from claimx.adapters.storage_key import AccountKey
from claimx.adapters.storage_login import StorageLogin
from claimx.domain.errors import TokenRejected


class Giver:
    """Gives tokens that may be used for *seconds*, unless it is away; counts who asks."""

    def __init__(self, seconds: float = 100.0) -> None:
        self.seconds = seconds
        self.now = 1000.0
        self.away = False
        self.asked = 0
        self.refused: list[str] = []
        self.answer = threading.Event()
        self.answer.set()

    def __call__(self) -> StorageAccess:
        self.answer.wait(30)
        self.asked += 1
        if self.away:
            raise TokenRejected("no token: check AZURE_CLIENT_ID")
        token = f"t{self.asked}"
        return StorageAccess(
            {"bearer_token": token}, self.seconds, lambda: self.refused.append(token)
        )

    def login(self) -> StorageLogin:
        return StorageLogin(self, lambda: self.now)


async def signed(login: StorageLogin) -> str:
    return await login.authorization("HEAD", "/files/a", {}, {})


def test_a_token_is_used_for_as_long_as_it_may_be():
    giver = Giver(seconds=100)

    async def work() -> list[str]:
        login = giver.login()
        found = []
        for _ in range(4):
            found.append(await signed(login))
            giver.now += 60
        login.close()
        return found

    assert asyncio.run(work()) == ["Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2"]


def test_many_that_come_at_once_ask_once():
    giver = Giver()

    async def work() -> list[str]:
        login = giver.login()
        return await asyncio.gather(*(signed(login) for _ in range(100)))

    assert set(asyncio.run(work())) == {"Bearer t1"}
    assert giver.asked == 1


@pytest.mark.timeout(40)
def test_a_sign_in_service_that_hangs_leaves_the_loops_threads_alone():
    """In these the ledger's steps are made: leases ran out, and uploads were done twice."""
    giver = Giver()
    giver.answer.clear()

    async def work() -> list[str]:
        login = giver.login()
        asked = [asyncio.create_task(signed(login)) for _ in range(100)]
        try:
            assert await asyncio.wait_for(asyncio.to_thread(int, "1"), 10) == 1
        finally:
            giver.answer.set()
        return await asyncio.gather(*asked)

    assert len(asyncio.run(work())) == 100


def test_those_who_wait_while_an_identity_fails_do_not_ask_it_each():
    """One after another they waited for it, until their own time was up."""
    giver = Giver()
    giver.away = True

    async def work() -> int:
        login = giver.login()
        found = await asyncio.gather(*(signed(login) for _ in range(10)), return_exceptions=True)
        assert {type(one) for one in found} == {TokenRejected}
        asked = giver.asked
        giver.now += AGAIN_SECONDS
        giver.away = False
        for _ in range(2):
            assert await signed(login) == "Bearer t2"
        return asked

    assert asyncio.run(work()) == 1


def test_a_token_that_was_refused_is_not_sent_again():
    giver = Giver()

    async def work() -> list[str]:
        login = giver.login()
        first = await signed(login)
        login.refused(first)
        second = await signed(login)
        login.refused(first)  # told late, by a request that was sent with the first
        return [first, second, await signed(login)]

    assert asyncio.run(work()) == ["Bearer t1", "Bearer t2", "Bearer t2"]
    assert giver.refused == ["t1"]


def test_what_was_closed_goes_on():
    """Stores are closed with their loop, and may be used in another one."""
    giver = Giver(seconds=0.0)
    login = giver.login()

    for _ in range(2):
        assert asyncio.run(signed(login)).startswith("Bearer")
        login.close()


@pytest.mark.parametrize("error", [FileNotFoundError("cert.pem"), ValueError("tenant"), KeyError()])
def test_an_identity_that_is_set_up_wrongly_gives_no_token_and_is_no_other_error(error):
    """A certificate's missing file was taken for a file of the cache that is gone."""
    onelake = "https://onelake.dfs.fabric.microsoft.com"

    def made() -> Callable[[], object]:
        raise error

    credentials = Credentials([onelake], make=made)
    login = StorageLogin(lambda: credentials.storage_access(onelake))

    with pytest.raises(TokenRejected, match=type(error).__name__):
        asyncio.run(signed(login))


NAMES = st.sampled_from(
    ["x-ms-date", "x-ms-version", "x-ms-properties", "If-Match", "Content-Type", "Content-MD5"]
)
TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)


@given(
    st.sampled_from(["GET", "HEAD", "PUT", "PATCH"]),
    st.lists(st.sampled_from(["a", "b%20c", "%C3%A4", "1.jpg"]), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(["action", "position", "close"]), TEXTS),
    st.dictionaries(NAMES, TEXTS),
    st.integers(0, 3),
)
def test_a_signature_is_the_one_of_the_vendors_client(method, parts, query, headers, length):
    """It is private there, so it is no part of the product; stand-ins hold requests against it."""
    key = base64.b64encode(b"invented").decode()
    path = "/" + "/".join(parts)
    headers |= {"Content-Length": str(length)}
    request = HttpRequest(method, f"http://127.0.0.1{path}", headers=headers)
    request.format_parameters({name: _quoted(value) for name, value in query.items()})
    asked = PipelineRequest(request, PipelineContext(None))
    SharedKeyCredentialPolicy("onelake", key).on_request(asked)

    found = AccountKey("onelake", key).authorization(method, path, query, headers)

    assert found == request.headers["Authorization"]


def _quoted(value: str) -> str:
    return quote(value, safe="")

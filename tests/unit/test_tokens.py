"""Tokens are renewed in time, and used to their end while their identity is away."""

from __future__ import annotations

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from claimx.adapters.identity import AGAIN_SECONDS, LentCredential
from claimx.adapters.tokens import Tokens
from claimx.domain.errors import TokenRejected

SCOPE = "https://example/.default"
HOUR = 3600.0


class Service:
    """Issues tokens of *life* seconds, unless it is away; identities keep theirs to its end."""

    def __init__(self, life: float = HOUR) -> None:
        self.life = life
        self.now = 1000.0
        self.away = False
        self.issued = 0
        self.asked = 0
        self.identities: list[Identity] = []

    def tokens(self) -> Tokens:
        return Tokens(self._identity, lambda: self.now)

    def _identity(self) -> Identity:
        self.identities.append(Identity(self))
        return self.identities[-1]


class Identity:
    """As azure-identity does it: from its cache until five minutes before the token's end."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._cached: AccessToken | None = None
        self.closed = False

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        service = self._service
        service.asked += 1
        assert not self.closed, "asked after it was closed"
        if self._cached is None or self._cached.expires_on - service.now < 300:
            if service.away:
                raise ClientAuthenticationError("away")
            service.issued += 1
            self._cached = AccessToken(f"t{service.issued}", int(service.now + service.life))
        return self._cached

    def close(self) -> None:
        self.closed = True


def test_a_token_handed_out_has_ten_minutes_left():
    service = Service()
    tokens = service.tokens()

    found = []
    for _ in range(100):
        found.append(tokens.fresh(SCOPE))
        assert found[-1].left(service.now) >= 600
        service.now += 100
    assert service.issued == len({one.text for one in found}) == 4


def test_a_short_token_is_handed_out_in_the_first_half_of_its_life():
    """One of a minute was asked for at each use, from a new identity each time."""
    service = Service(life=60)
    tokens = service.tokens()

    for _ in range(100):
        assert tokens.fresh(SCOPE).left(service.now) >= 30
        service.now += 10
    assert service.issued <= 1000 / 30 + 2
    assert len(service.identities) <= 2, "only the first could have come from a cache"


def test_while_the_identity_is_away_the_old_token_is_used_to_its_end():
    """It was thrown away with ten minutes left, and every table stood still."""
    service = Service()
    tokens = service.tokens()
    first = tokens.fresh(SCOPE)
    service.now += HOUR - 599
    service.away = True

    while first.left(service.now) > 0:
        assert tokens.fresh(SCOPE) == first
        service.now += 7
    with pytest.raises(TokenRejected):
        tokens.fresh(SCOPE)
    service.away = False
    assert tokens.fresh(SCOPE).left(service.now) >= 600


def test_an_identity_that_is_away_is_not_asked_at_each_use():
    """It may take a quarter of a minute to say that it has nothing."""
    service = Service()
    tokens = service.tokens()
    tokens.fresh(SCOPE)
    service.now += HOUR - 599
    service.away = True
    before = service.asked

    for _ in range(100):
        tokens.fresh(SCOPE)
    assert service.asked - before <= 2
    service.now += AGAIN_SECONDS
    service.away = False
    assert tokens.fresh(SCOPE).left(service.now) >= 600


def test_clients_go_on_with_the_identity_that_works():
    """Kusto asks for each query: an identity whose cache is empty is of no use to it."""
    service = Service()
    tokens = service.tokens()
    kept = LentCredential(tokens.identity)
    tokens.fresh(SCOPE)
    service.now += HOUR - 599
    service.away = True
    tokens.fresh(SCOPE)

    assert kept.get_token(SCOPE).token == "t1"


def test_a_client_keeps_its_credential_over_the_change_of_identities():
    """Media's client was left with a closed one after an hour, and failed for good."""
    service = Service()
    tokens = service.tokens()
    kept = LentCredential(tokens.identity)

    for _ in range(4):
        tokens.fresh(SCOPE)
        service.now += HOUR - 599
        tokens.fresh(SCOPE)
        assert kept.get_token(SCOPE).token
        assert not service.identities[-2].closed, "somebody may be asking it"
        kept.close()
        assert not service.identities[-1].closed
    assert service.identities[0].closed
    tokens.close()
    assert all(one.closed for one in service.identities)


def test_a_token_that_was_refused_is_not_handed_out_again():
    """Its end is not everything: it may have been taken back, or a clock may be wrong."""
    service = Service()
    tokens = service.tokens()
    first = tokens.fresh(SCOPE)

    tokens.refuse(SCOPE, first.text)
    second = tokens.fresh(SCOPE)
    tokens.refuse(SCOPE, first.text)  # somebody who had the old one comes late

    assert second.text != first.text
    assert tokens.fresh(SCOPE) == second


def test_refusals_that_go_on_make_no_identity_each():
    """A service that refuses everybody would close each identity while clients ask it."""
    service = Service()
    tokens = service.tokens()

    for _ in range(100):
        tokens.refuse(SCOPE, tokens.fresh(SCOPE).text)
        service.now += 1

    assert len(service.identities) <= 100 / AGAIN_SECONDS + 2


def test_an_identity_without_any_token_is_an_error():
    service = Service()
    service.away = True

    with pytest.raises(TokenRejected):
        service.tokens().fresh(SCOPE)


class Odd(Identity):
    """An identity that fails as no Azure service does."""

    def __init__(self, error: Exception) -> None:
        super().__init__(Service())
        self._error = error

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        raise self._error


@pytest.mark.parametrize("error", [FileNotFoundError("cert.pem"), ValueError("tenant"), KeyError()])
def test_an_identity_that_is_set_up_wrongly_gives_no_token_and_is_no_other_error(error):
    """A certificate's missing file was taken for a file of the cache that is gone."""

    def made() -> Identity:
        raise error

    for make in (made, lambda: Odd(error)):
        tokens = Tokens(make, lambda: 0.0)
        with pytest.raises(TokenRejected, match=type(error).__name__):
            tokens.fresh(SCOPE)
        lent = LentCredential(tokens.identity)
        with pytest.raises(TokenRejected, match="AZURE_CLIENT_ID"):
            lent.get_token(SCOPE)

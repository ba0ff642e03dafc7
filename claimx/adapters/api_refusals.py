"""What a 401 says: that the token is refused, or that one thing alone is kept from it."""

from __future__ import annotations

_MOST_KNOWN = 1000


class Refusals:
    """
    Tells the one from the other, by what this process's other calls with the token come to.

    The vendor may keep a single project from us with a 401. Its events ask again for three days,
    and each time everybody else would have to wait. So a 401 says nothing of a token with which
    another call was accepted since this one began, or since what it asks for was refused the last
    time. A token that ends is thus known by the first call that begins behind that.
    """

    def __init__(self) -> None:
        self.accepted = 0  # how many answers were
        self._token = ""  # the last one that was accepted
        self._known: dict[str, int] = {}  # what was refused, and how many were accepted by then

    def note_accepted(self, token: str) -> None:
        """Note an answer that *token* was accepted for."""
        self.accepted += 1
        self._token = token

    def is_of_token(self, token: str, what: str, accepted: int) -> bool:
        """
        Say whether the 401 to a call with *token* for *what* is about the token.

        *accepted* is how many answers were when the call began.
        """
        since = self._known.pop(what, accepted)
        self._known[what] = self.accepted
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return not token or token != self._token or self.accepted <= since

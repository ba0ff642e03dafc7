"""The plays: short lives of the whole pipeline that together pass every crash point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import plays_doors
import plays_lake
import plays_life
import plays_processes
import plays_source
from machine import Machine


@dataclass(frozen=True, slots=True)
class Play:
    """
    *act* is what the process that will die does, with *settings* of its own.

    ``{place}`` in a setting is the folder of the performance, ``{lake_uri}`` the address of tables
    in OneLake. After the death an operator brings dead letters back with *requeues*, and what is
    missing with *reconciles*; *later* are settings of the process that finishes.
    """

    act: Callable[[Machine], None]
    settings: dict[str, str] = field(default_factory=dict)
    later: dict[str, str] = field(default_factory=dict)
    requeues: bool = False
    reconciles: bool = False

    @property
    def name(self) -> str:
        """The act's name."""
        return self.act.__name__


PLAYS = {
    play.name: play
    for play in (
        Play(plays_life.life),
        Play(plays_life.leaving),
        Play(plays_life.letters, requeues=True),
        Play(plays_life.lost),
        Play(
            plays_doors.api,
            {
                "CLAIMX_API_TOKEN": "",
                "CLAIMX_API_TOKEN_FILE": "{place}/token",
                "CLAIMX_API_RATE_LIMIT_PER_SECOND": "1000",
            },
            later={"CLAIMX_API_TOKEN_FILE": ""},
        ),
        Play(plays_doors.media),
        Play(plays_doors.beside, {"ONELAKE_CLAIMX_PATH": "{place}/media"}),
        Play(plays_source.source),
        Play(plays_source.behind),
        Play(plays_source.reconciled, {"CLAIMX_POLL_START": "5m"}, reconciles=True),
        Play(plays_lake.upkeep),
        Play(plays_lake.refusing),
        Play(plays_lake.large),
        Play(
            plays_lake.elsewhere,
            {"CLAIMX_LAKE_PATH": "{lake_uri}", "ONELAKE_CLAIMX_PATH": "{place}/media"},
        ),
        Play(plays_processes.processes, {"CLAIMX_HEALTH_PORT": "0"}),
        Play(plays_processes.worker),
    )
}

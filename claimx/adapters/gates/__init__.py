"""What all processes share through Redis: circuits, slots, tokens, locks, announcements."""

from claimx.adapters.gates.store import RedisGates

__all__ = ["RedisGates"]

"""
The ledger in Redis (design page, section 1): records, dead letters, checkpoints, the lake stream.

Each method of `RedisLedger` is one Lua script a chunk; ``lua/common.lua`` says how it is stored.
"""

from claimx.adapters.ledger.store import RedisLedger

__all__ = ["RedisLedger"]

"""
Python's cycle collector, set for processes that hold much for long and make little garbage.

By default it looks at everything every few hundred new objects, libraries and kept answers
included: a fifth of an enriching process's time (`docs/performance.md`). Records and rows hold no
cycles, so counting references frees them at once; what is left is little.
"""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 20, 50)
"""New objects before a look at the young ones, and how many such looks before older ones."""


def settle() -> None:
    """
    Leave what is there now out of all later looks, and look less often.

    Call it once everything is imported, in a worker before it forks: what no child's collector
    touches stays shared memory.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)

"""
Python's cycle collector, set for processes that hold much for long and make little garbage.

By default it looks at everything every few hundred new objects, libraries and kept answers
included: a seventh of an enriching process's CPU (`docs/performance.md`). Records and rows hold no
cycles (held by `tests/unit/test_garbage.py`), so counting references frees them at once.
"""

from __future__ import annotations

import gc

NEW_OBJECTS = 20_000
"""More objects made than freed, before a look at the young ones; Python's own is some hundreds."""


def settle(new_objects: int = NEW_OBJECTS) -> None:
    """
    Leave what is there now out of all later looks, and look only after so many *new_objects*.

    Call it once everything is imported, in a worker before it forks: what no child's collector
    touches stays shared memory.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(new_objects, *gc.get_threshold()[1:])

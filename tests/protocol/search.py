"""A breadth-first search of every state of a small world, each looked at by all that must hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from protocol.small_rules import healthy_round, key_of, problems_of, unfinished
from protocol.small_world import Action, Bounds, SmallWorld


@dataclass(slots=True)
class Visited:
    """How much a search saw; *complete*: there is nothing else within these bounds."""

    states: int = 0
    steps: int = 0
    depth: int = 0
    complete: bool = False


class Search:
    """Visits up to *most* states, the nearest first."""

    def __init__(self, bounds: Bounds, most: int) -> None:
        self._bounds = bounds
        self._most = most
        self._ways: dict[Hashable, tuple[Hashable, Action]] = {}
        self._ends_well: set[Hashable] = set()

    def run(self) -> Visited:
        """Raises AssertionError with the way to the first state that is not as it must be."""
        first = SmallWorld(self._bounds)
        key = key_of(first)
        self._ways[key] = (key, ("begin",))
        todo = deque([(first, key, 0)])
        visited = Visited(states=1)
        while todo:
            world, key, depth = todo.popleft()
            for action in list(world.actions()):
                visited.steps += 1
                after = world.copy()
                after.do(action)
                new = key_of(after)
                if new in self._ways:
                    continue
                self._ways[new] = (key, action)
                self._look_at(after, new)
                visited.states += 1
                visited.depth = depth + 1
                if visited.states >= self._most:
                    return visited
                todo.append((after, new, depth + 1))
        visited.complete = True
        return visited

    def _look_at(self, world: SmallWorld, key: Hashable) -> None:
        wrong = [*problems_of(world), *self._stuck(world, key)]
        if wrong:
            way = []
            while self._ways[key][0] != key:
                key, action = self._ways[key]
                way.append(action)
            steps = "\n  ".join(str(action) for action in reversed(way))
            raise AssertionError("; ".join(wrong) + f"\nafter:\n  {steps}")

    def _stuck(self, world: SmallWorld, key: Hashable) -> list[str]:
        """Whether the healthy can still bring everything to its end, if all others die now."""
        passed = []
        end = world.copy()
        end.workers = [None] * len(end.workers)
        end.pairs, end.items = [], []
        for _ in range(30):
            key = key_of(end)
            if key in self._ends_well:
                break
            passed.append(key)
            if not healthy_round(end):
                break
        else:
            return [f"never finished: {', '.join(unfinished(end))}"]
        self._ends_well.update(passed)
        return []

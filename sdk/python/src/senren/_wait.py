"""Whether what an apply asked for is there yet: pure bookkeeping, fed with the events of a watch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from .types import ApplyResult, Resource, ResourceChange, StatusEvent

#: How long something may be ``Failed`` while nothing else is on its way: a failure that is retried often passes.
FAILED_GRACE = 5.0


@dataclass
class _Goal:
    change: ResourceChange
    latest: Resource | None = None
    #: The current watch has shown it.
    seen: bool = False
    #: A later apply has put another resource in its place.
    succeeded: bool = False

    def standing(self, synced: bool) -> str:
        """``done``, ``moving``, ``failed``, ``held``, or ``superseded`` by a later apply."""
        if self.change.hold:
            # Not before the watch has shown how it stands.
            return "held" if synced or self.latest else "moving"
        latest = self.latest
        if self.change.action == "deleted":
            return "done" if synced and latest is None else "moving"
        if latest is None:
            return "superseded" if synced or self.succeeded else "moving"
        if latest.generation > self.change.generation or latest.deleting:
            return "superseded"
        current = latest.observed_generation >= self.change.generation
        if current and latest.hold:
            return "held"
        # Ready alone is not enough: during a rolling change clients are served all along.
        if current and latest.ready and latest.phase == "Ready":
            return "done"
        return "failed" if current and latest.phase == "Failed" else "moving"


class Goals:
    """What is waited for."""

    def __init__(self, result: ApplyResult) -> None:
        self._result = result
        self._goals: dict[tuple[str, str], _Goal] = {}
        for change in result.changes:
            key = (change.region, change.name)
            # Of a name that is deleted and created again, the new one counts.
            if change.action != "deleted" or key not in self._goals:
                self._goals[key] = _Goal(change)
        self._synced = not self._goals
        self._given_up = False
        self._count()

    def restart(self) -> None:
        """A new watch begins: what it has not shown is not known to be gone."""
        self._synced = False
        for goal in self._goals.values():
            goal.seen = False
        self._count()

    def observe(self, event: StatusEvent) -> None:
        """Takes in one event."""
        if event.kind == "synced":
            self._synced = True
            # What this watch has not shown went while there was none.
            for goal in self._goals.values():
                if not goal.seen:
                    goal.latest = None
            self._count()
        if event.resource is None:
            return
        resource = event.resource
        known = self._goals.get((resource.region, resource.name))
        if known is None:
            return
        self._tally[known.standing(self._synced)] -= 1
        if resource.uid == known.change.uid:
            known.seen = True
            known.latest = None if event.kind == "removed" else resource
        else:
            # What a replacement took the place of stands beside it until it is gone.
            known.succeeded |= resource.generation > known.change.generation and not resource.deleting
        self._tally[known.standing(self._synced)] += 1

    def settled(self) -> bool:
        """Nothing more is waited for."""
        return self._given_up or not self._standings() & {"moving", "failed"}

    def failed(self) -> bool:
        """Something is not as declared."""
        return self._standings() != {"done"} and bool(self._goals)

    def held(self) -> bool:
        """All that is not as declared waits to be confirmed."""
        return "held" in self._standings() and self._standings() <= {"held", "done"}

    def patience(self, left: float) -> float:
        """How long to go on watching."""
        only_failures = "failed" in self._standings() and "moving" not in self._standings()
        return min(left, FAILED_GRACE) if only_failures else left

    def give_up(self) -> None:
        """What failed stays failed."""
        self._given_up = "moving" not in self._standings()

    def missing(self) -> list[Resource]:
        """What is not as declared, where its status is known."""
        goals = [goal for goal in self._goals.values() if goal.standing(self._synced) != "done"]
        return [goal.latest for goal in goals if goal.latest is not None]

    def unfinished(self) -> str:
        """The same in words, one line each."""
        lines = []
        for (region, name), goal in sorted(self._goals.items()):
            standing, latest = goal.standing(self._synced), goal.latest
            if standing == "done":
                continue
            if standing == "superseded":
                what = "a later apply changed or deleted it"
            elif standing == "held":
                hold = goal.change.hold or (latest and latest.hold)
                what = f"held: {hold.message if hold else ''}"
            elif latest is None:
                what = "no status yet"
            else:
                what = ": ".join(part for part in (latest.phase, latest.reason, latest.message) if part)
            lines.append(f"\n  {region}  {name}: {what}")
        return "".join(lines)

    def result(self) -> ApplyResult:
        """The apply's result with the resources as they are now."""
        latest = [goal.latest for _, goal in sorted(self._goals.items()) if goal.change.action != "deleted"]
        return replace(self._result, resources=tuple(r for r in latest if r is not None))

    def _count(self) -> None:
        #: How many goals have each standing: among thousands, an event changes that of one.
        self._tally = Counter(goal.standing(self._synced) for goal in self._goals.values())

    def _standings(self) -> set[str]:
        return {standing for standing, count in self._tally.items() if count}

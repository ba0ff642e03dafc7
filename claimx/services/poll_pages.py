"""Pages of one poll: read, sifted and stored, until there is a reason to stop."""

from __future__ import annotations

from collections.abc import Callable

from claimx.domain.polling import LIVE, TIME, Window, moved
from claimx.domain.times import Micros
from claimx.services.in_lake import InLake
from claimx.services.met import Met
from claimx.services.pages import Sifted, sift, store
from claimx.services.poll_report import PollReport, Stop
from claimx.services.pressure import Pressure
from claimx.services.reader_lease import ReaderLease
from claimx.services.recover import mark_of_loss, note_forgotten
from claimx.services.runtime import Runtime
from claimx.services.standstill import Hold

UNCHECKED = 4
"""
Times `Limits.ids_a_step` that a poll leaves out of an overlap; the rest of it is the next one's.

They are checked in one step with the note that says they are read: 20,000 take Redis 0.14 s. Fewer
would not get through the overlap of a busy source that was read without a note.
"""

HELD_PAGES = 8
"""How many pages of doubles are stored in one step, at the most."""

HELD_SECONDS = 0.5
"""How long what is new in them waits for that; beyond it, for no more than the page under way."""


class Held:
    """
    Pages that were read from *after* on and are not stored yet: what they become in one step.

    Most are stored at once. But of a source that doubles its rows a page brings few new ones, and
    each step of the ledger costs the messages that carry them from stage to stage.
    """

    def __init__(self, after: Micros) -> None:
        self.after = self.last = after
        self._since = 0.0
        self._rows = 0  # of the last page
        self.begin_anew()

    def begin_anew(self) -> None:
        """Hold nothing; what is held next begins where this ended."""
        self.after = self.last
        self.pages = 0
        self.sifted = Sifted()
        self.times: list[Micros] = []

    def add(self, page: Sifted, times: list[Micros], now: float) -> None:
        """Hold a page whose rows came at *times*, in order."""
        if not self.pages:
            self._since = now
        self.pages += 1
        self.sifted.fresh += page.fresh
        self.sifted.seen += page.seen
        self.times += times
        self.last = times[-1]
        self._rows = len(times)

    def is_enough(self, now: float, page_rows: int) -> bool:
        """
        Say whether it is to be stored now: because half of it is new or it has waited long enough.

        A page that is not half full is most likely the source's last, or one cut for its size:
        nothing in it waits for another.
        """
        return (
            2 * self._rows < page_rows
            or 2 * len(self.sifted.fresh) >= min(page_rows, len(self.times))
            or self.pages >= HELD_PAGES
            or now - self._since >= HELD_SECONDS
        )


class PageReader:
    """
    Reads for one poller that holds its *lease*; what it did goes into *report*.

    *hold* is the mark at which a poll that has not read anything yet must wait. *ask_lake* says of
    whom the lake may be asked, *deadline* (epoch seconds) when new rows must wait, *lost*
    that this ledger has forgotten events that the lake has.

    *unchecked* are ids left out because the ledger has seen them, of pages that said nothing else
    and so were not stored: it must still have when the next page is stored, or else these are noted
    as read. Were they stored alone, the checkpoint would change under a poller that reads beside
    this one, and neither get on.
    """

    def __init__(
        self,
        runtime: Runtime,
        report: PollReport,
        lease: ReaderLease,
        hold: Hold,
        *,
        ask_lake: Callable[[Micros], bool],
        deadline: float,
        lost: bool,
    ) -> None:
        self._runtime = runtime
        self._report = report
        self._lease = lease
        self._hold = hold
        self._in_lake = InLake(runtime, ask=ask_lake, may_fail=True)
        self._deadline = deadline
        self._lost = lost
        self._pressure = Pressure(runtime)
        self._met = Met()
        self.unchecked: list[str] = []
        self._read_on = False  # past what earlier polls have read

    def read(
        self,
        part: Window,
        count: Callable[[list[Micros]], None],
        *,
        leave: Callable[[Micros], bool] = lambda _: False,
        read_on: bool = False,
    ) -> Micros:
        """
        Read and store *part* page after page; returns how far.

        The times of the rows of each page go to *count* once it is stored. *leave* says whether to
        end there; a reason to end the whole poll goes into the report. *read_on*: these are new.
        """
        held = Held(part.after)
        try:
            end = self._read_into(held, part, count, leave, read_on=read_on)
        except Exception:
            # what was read is not read again: a source that fails now and then would get nowhere
            self._let_go(held, count)
            raise
        return end if self._let_go(held, count) else held.last

    def _read_into(
        self,
        held: Held,
        part: Window,
        count: Callable[[list[Micros]], None],
        leave: Callable[[Micros], bool],
        *,
        read_on: bool,
    ) -> Micros:
        """Read *part*, storing what is *held* when it is enough; returns how far it was read."""
        runtime, report = self._runtime, self._report
        while held.last < part.until and not leave(held.last):
            if not read_on and not self._has_room(held, count):
                break
            if stop := self._must_stop(held):
                report.stopped = stop
                break
            rows = runtime.source.page(held.last, part.until, runtime.limits.poll_batch)
            if not rows:
                return part.until
            self._read_on = self._read_on or read_on
            report.pages += 1
            report.rows += len(rows)
            runtime.metrics.add("poll_rows", len(rows), cursor=LIVE)
            sifted = sift(runtime, rows, self._in_lake, met=self._met)
            report.known += sifted.known
            if sifted.in_lake and not report.dry_run:
                # now, and with every page from here on: the store may be put back in between
                self._lost = True
                note_forgotten(runtime, self._lease.fence)
            report.fresh += len(sifted.fresh)
            report.malformed += sifted.malformed
            held.add(sifted, [int(row[TIME]) for row in rows], runtime.now())
            if held.is_enough(runtime.now(), runtime.limits.poll_batch) and not self._let_go(
                held, count
            ):
                break
        return held.last

    def _let_go(self, held: Held, count: Callable[[list[Micros]], None]) -> bool:
        """Store what is *held*, and count it; False when another poller was faster."""
        if not held.pages:
            return True
        sifted, times, after = held.sifted, held.times, held.after
        held.begin_anew()  # first: what fails now is not tried again behind its failure
        if not self._keep(sifted, after, held.last):
            self._report.stopped = Stop.SUPERSEDED
            held.after = held.last = after
            return False
        self._pressure.stored(len(sifted.fresh))
        count(times)
        return True

    def _has_room(self, held: Held, count: Callable[[list[Micros]], None]) -> bool:
        """Say whether more ids may be left out; a page that is stored has its own checked."""
        most = UNCHECKED * self._runtime.limits.ids_a_step
        if len(self.unchecked) + len(held.sifted.seen) < most:
            return True
        return self._let_go(held, count) and len(self.unchecked) < most

    def _keep(self, page: Sifted, after: Micros, last: Micros) -> bool:
        """Store the page, if it says anything new; False when another poller was faster."""
        report = self._report
        current = report.checkpoint
        if report.dry_run:
            return True
        if current and not page.fresh and moved(current, last) == current.source_time:
            self.unchecked += page.seen
            return True
        # with this page the checkpoint may go so far that no later poll looks at those again
        page.seen = [*self.unchecked, *page.seen]
        marks = [mark_of_loss(self._runtime)] if self._lost else []
        checkpoint, records = store(
            self._runtime,
            LIVE,
            current,
            page,
            after=after,
            last=last,
            fence=self._lease.fence,
            marks=marks,
        )
        report.records += records
        if checkpoint is None:
            return False
        report.checkpoint, self.unchecked = checkpoint, []
        return self._lease.renewed()

    def _must_stop(self, held: Held) -> Stop | None:
        runtime, report = self._runtime, self._report
        # a page of new rows is read in any case: where the lake or the source are slower than a
        # poll's time, there would never be one
        if runtime.stopping() or (self._read_on and runtime.now() >= self._deadline):
            return Stop.TIME
        limit = runtime.limits.max_in_flight if report.pages else self._hold.limit
        if not report.dry_run and self._pressure.too_high(limit - len(held.sifted.fresh)):
            return Stop.PRESSURE
        return None

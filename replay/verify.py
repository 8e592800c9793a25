"""Prove that a log is whole, or name the first position at which it is not, and what is wrong there.

A chain binds everybody but who can write all of it anew. Against a database's administrator a copy elsewhere must
speak: the mirror, an archive, or the position and hash that somebody wrote down. Snapshots are never believed.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from ledger.codec import recorded_at
from ledger.domain.rejection import Code, Rejection
from ledger.ports import Fault
from projections.check import check
from replay.archive.source import ArchiveSource
from replay.archive.verification import verify_chain
from replay.combined import agree
from replay.examination import Examination
from replay.following import Chain, Progress, check_end, checked
from replay.sources import Damaged, DatabaseSource, Extent, Source, StreamSource, apart, event_at

__all__ = ["Flaw", "Report", "SavedHead", "verify"]

ATTEMPTS = 10  # to begin with the first event of a mirror alone that is trimmed while it is read
LOWEST = -(1 << 63)  # that a position can be in a database
FLAWS = (Code.LOG_DAMAGED, Code.HISTORIES_DIFFER, Code.ARCHIVE_UNUSABLE)  # rejections that are findings here


@dataclass(frozen=True, slots=True)
class SavedHead:
    """The position and hash that somebody wrote down when the log, or its archive, ended there."""

    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong, and where; `position` is None when it is at no certain one."""

    where: str
    position: int | None
    what: str


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found: without `flaws` the log is whole up to `position`, of that `hash`.

    `first` is where the source begins; `copies` maps each copy to its end; so many `rows` of projections were compared,
    None when they were not.
    """

    ledger_id: str = ""
    first: int = 1
    position: int = 0
    hash: bytes = b""
    recorded_at: int = 0
    copies: dict[str, int] = field(default_factory=dict)
    rows: int | None = None
    flaws: list[Flaw] = field(default_factory=list)

    def finding(self, where: str) -> "_Finding":
        """Note as a flaw what a source is refused for."""
        return _Finding(self, where)


@dataclass(frozen=True, slots=True)
class _Finding:
    report: Report
    where: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, found: BaseException | None, __: object) -> bool:
        if not isinstance(found, Rejection) or found.code not in FLAWS:
            return False
        position = found.members.get("position")
        what = found.what if isinstance(found, Damaged) else found.detail
        self.report.flaws.append(Flaw(self.where, position if isinstance(position, int) else None, what))
        return True


async def verify(
    log: Source,
    copies: Sequence[Source] = (),
    *,
    chain_only: bool = False,
    saved: SavedHead | None = None,
    progress: Progress = lambda done, of: None,
) -> Report:
    """Verify a log, every copy of it by itself, and each against the log.

    With `chain_only` events are not read beyond their chain. A Rejection or Fault is raised only for what keeps the
    question from being asked.
    """
    verification = _Verification(log, chain_only, progress)
    await verification.run(copies, saved)
    return verification.report


class _Verification:
    def __init__(self, log: Source, chain_only: bool, progress: Progress) -> None:
        self.report = Report()
        self._log = log
        self._chain_only = chain_only
        self._progress = progress
        self._extent = Extent.none("")

    async def run(self, copies: Sequence[Source], saved: SavedHead | None) -> None:
        # The copies before the log, which only grows: one that is ahead of it knows of events that were lost.
        extents = [(copy, await self._extent_of(copy)) for copy in copies]
        extent = await self._extent_of(self._log)
        if extent is None:
            return
        self._extent = extent
        with self.report.finding(self._log.name):
            await self._verify_log()
        if isinstance(self._log, StreamSource) and self._log.unsigned:
            self._note_unsigned(self._log, self._extent, self._log.unsigned)
        for copy, its in extents:
            if its:
                with self.report.finding(copy.name):
                    await self._verify_copy(copy, await self._believed(copy, its))
        if saved:
            with self.report.finding("the saved head"):
                await self._verify_saved(saved)
        if isinstance(self._log, DatabaseSource) and not self._chain_only:
            await self._verify_database(self._log)

    async def _extent_of(self, source: Source) -> Extent | None:
        with self.report.finding(source.name):
            return await source.extent()
        return None

    async def _verify_log(self) -> None:
        """Verify it from where it begins: a mirror drops its first events meanwhile, so that it may begin later."""
        for _ in range(ATTEMPTS):
            try:
                return await self._verify_log_as_it_is()
            except Damaged:
                if await _first(self._log, self._extent) <= self._extent.first:
                    raise
                self._extent = await self._log.extent()
        raise Fault(
            Code.REDIS_UNAVAILABLE,
            f"{self._log.name} drops its events before they are read",
            advice="let it keep more (NUMBERING_MIRROR_RETENTION), or verify it when less is written",
        )

    async def _verify_log_as_it_is(self) -> None:
        log, extent, report = self._log, self._extent, self.report
        report.ledger_id, report.position, report.hash = extent.ledger_id, extent.last, extent.hash
        report.first = extent.first
        last = await event_at(log, extent.last) if extent.last else None
        report.recorded_at = recorded_at(last[1]) if last else 0
        if self._chain_only or extent.first > 1:  # a fold can only begin at the beginning
            await self._follow(log, extent)
        else:
            await self._examine(log, extent)

    async def _follow(self, source: Source, extent: Extent) -> None:
        if isinstance(source, ArchiveSource):
            verify_chain(source.directory, source.manifest, self._progress)
            return
        async for _ in checked(source, extent, await Chain.at(source, extent), self._progress):
            pass

    async def _examine(self, source: Source, extent: Extent) -> None:
        examined = Examination(extent.ledger_id)
        async for flaw in _flaws(source, extent, examined):
            if flaw:
                raise Damaged(examined.flawed, flaw)
            self._progress(examined.position, extent.last)
        check_end(source, extent, examined.position, examined.hash)
        flaw = examined.finish() if source.is_primary else None  # a copy may end in the middle of a command
        if flaw:
            raise Damaged(examined.flawed, flaw)

    async def _believed(self, copy: Source, its: Extent) -> Extent:
        """Say how far a copy is to be believed: events without a valid MAC are a flaw unless the log holds them too."""
        whole = copy.unsigned if isinstance(copy, StreamSource) else None
        if whole is None:
            return its
        event = await event_at(self._log, whole.last) if whole.last <= self._extent.last else None
        if event and event[2] == whole.hash:
            return whole
        self._note_unsigned(copy, its, whole)
        return its

    def _note_unsigned(self, source: Source, its: Extent, whole: Extent) -> None:
        what = f"the events from here to {whole.last} bear no valid MAC: they are forged, or written without our key"
        self.report.flaws.append(Flaw(source.name, max(its.last + 1, whole.first), what))

    async def _verify_copy(self, copy: Source, its: Extent) -> None:
        while True:
            try:
                await self._follow(copy, its)
                await agree(self._log, self._extent, copy, its)
                break
            except Damaged:
                first, first_of_log = await _first(copy, its), await _first(self._log, self._extent)
                if first <= its.first and first_of_log <= self._extent.first:
                    raise
                # A mirror has dropped its first events meanwhile. Each turn begins later, up to the end at the latest.
                its = replace(its, first=max(first, its.first))
                self._extent = replace(self._extent, first=max(first_of_log, self._extent.first))
            if its.first > its.last:
                await self._verify_end(copy, its)
                break
        self.report.copies[copy.name] = its.last
        if self._log.is_primary and its.last > self._extent.last:
            raise Damaged(
                self._extent.last + 1,
                f"{copy.name} goes on to {its.last}, but the log ends before: it has lost its end, or is an older copy",
            )

    async def _verify_end(self, copy: Source, its: Extent) -> None:
        """Compare the end that a copy had: of what it held then nothing is left to read."""
        if not self._extent.first <= its.last <= self._extent.last:
            return
        event = await event_at(self._log, its.last)
        if event is None:
            raise Damaged(its.last, f"the event is missing in {self._log.name}")
        if event[2] != its.hash:
            both = f"{self._log.name} and {copy.name}"
            what = f"{both} tell two histories: they differ at position {its.last} at the latest"
            raise apart(what, its.last)

    async def _verify_saved(self, saved: SavedHead) -> None:
        if saved.position < self._extent.first:
            raise apart(f"{self._log.name} begins at {self._extent.first}, and does not know what stood there")
        if saved.position > self._extent.last:
            raise Damaged(self._extent.last + 1, f"the log ends here, but it had reached {saved.position}")
        event = await event_at(self._log, saved.position)
        if event is None or event[2] != saved.hash:
            raise Damaged(saved.position, "the event is not the one that was written down: history was written anew")

    async def _verify_database(self, log: DatabaseSource) -> None:
        """Look at what a database has beside the events that its head names: by token or command it would be found."""
        first = await log.store.events(after=LOWEST, limit=1)
        if first and first[0].position < 1:
            self.report.flaws.append(Flaw(log.name, first[0].position, "an event stands in front of the first"))
        beyond = await log.store.events(after=self._extent.last, limit=1)
        head = await log.store.head()
        if beyond and beyond[0].position > head.position:
            what = f"an event stands behind the end of the log, which is {head.position}"
            self.report.flaws.append(Flaw(log.name, beyond[0].position, what))
        if not self.report.flaws:  # else they are of a log that is not the one that they were folded from
            found = await check(log.store, self._progress)
            if found.position:  # else none is live yet
                self.report.rows = found.rows
                self.report.flaws += [Flaw("the projections", None, each) for each in found.differences]


async def _first(source: Source, extent: Extent) -> int:
    """Say where a source begins by now: one that is no ledger's log may keep its last events only."""
    return extent.first if source.is_primary else (await source.extent()).first


async def _flaws(source: Source, extent: Extent, examined: Examination) -> AsyncIterator[str | None]:
    """Examine a source part by part, with its columns where it has any beside what the bodies say."""
    if isinstance(source, DatabaseSource):
        async for rows in source.rows(after=0, to=extent.last):
            yield examined.take(rows)
    else:
        async for events in source.events(after=0, to=extent.last):
            yield examined.take_bare(events)

"""The ledger as a naive model: dictionaries, loops and regular expressions, written from the contract alone.

It judges a command as the contract does, and applies it: `model.reserve(…)` raises `Refused`, or changes the model. A
caller works on a copy and keeps it when nothing was refused.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from ledger.domain.series import Definition, Dimension

__all__ = ["FREE", "Model", "Refused", "Seq"]

SECOND = 1_000_000
LIFETIME = 600
FREE = ("CANCELLED", "EXPIRED", "SKIPPED", "PRE_CONTROL")
PERIODS = {"never": "-", "yearly": r"\d{4}", "daily": r"\d{4}-\d\d-\d\d"}
TOKEN = re.compile(r"\{([^}]*)\}")


def is_of(form: Dimension, value: str) -> bool:
    """Say whether a dimension or an attribute may have a value."""
    return value in form.values or bool(form.chars and re.fullmatch(pattern_of(form), value))


def pattern_of(form: Dimension) -> str:
    return "|".join(form.values) or f"[{form.chars}]{{{form.min},{form.max}}}"


class Refused(Exception):
    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = codes


@dataclass
class Version:
    """A version of a series; `era` is part of what identifies its sequences."""

    number: int
    era: int
    made: Definition
    max_value: int

    @property
    def key(self) -> tuple[str, ...]:
        assert self.made.key is not None
        return self.made.key

    @property
    def counting(self) -> object:
        return self.key, self.made.reset

    def fits(self, key: Mapping[str, str]) -> bool:
        """Say whether each value of a key is of its dimension."""
        return all(is_of(self.made.dimensions[name], key[name]) for name in key)

    def period(self, day: date) -> str:
        return {"never": "-", "yearly": str(day.year), "daily": day.isoformat()}[self.made.reset.value]

    def print(self, key: Mapping[str, str], day: date, value: int, attributes: Mapping[str, str]) -> str:
        said = {"YYYY": f"{day.year}", "MM": f"{day.month:02}", "DD": f"{day.day:02}", **key, **attributes}

        def text(match: re.Match[str]) -> str:
            name, _, width = match[1].partition(":")
            return str(value).zfill(int(width)) if name == "SEQ" else said[name]

        return TOKEN.sub(text, self.made.template)

    def parse(self, number: str) -> dict[str, str] | None:
        """Say what each token says; the templates of the tests can be read by a plain regular expression."""
        pattern = ""
        for literal, name in re.findall(r"([^{]*)(?:\{([^}]*)\})?", self.made.template):
            digits = {"YYYY": 4, "MM": 2, "DD": 2}.get(name) or (int(name[4:]) if name.startswith("SEQ") else 0)
            wider = f"|[1-9][0-9]{{{digits},9}}" if name[:3] == "SEQ" and self.made.overflow.value == "widen" else ""
            attribute = self.made.attributes.get(name)
            form = attribute.form if attribute else self.made.dimensions.get(name)
            values = pattern_of(form) if form else ""
            pattern += re.escape(literal)
            if name:
                pattern += (
                    f"(?P<{name[:3] if digits else name}>" + (f"[0-9]{{{digits}}}{wider}" if digits else values) + ")"
                )
        found = re.fullmatch(pattern, number)
        return found.groupdict() if found else None


@dataclass
class Print:
    """How a value was printed when it was given out, and for what."""

    number: str
    version: Version
    day: date
    attributes: dict[str, str]
    document: str | None = None
    is_derived: bool = False  # whether nobody gave the date
    linked: list[str] = field(default_factory=list)  # after it was confirmed


@dataclass
class Seq:
    code: str
    era: int
    key: tuple[str, ...]
    period: str
    states: dict[int, str] = field(default_factory=dict)
    prints: dict[int, Print] = field(default_factory=dict)
    pool: set[int] = field(default_factory=set)
    start: int = 1
    high: int = 0
    closed: bool = False
    closed_by_fence: bool = False
    fences: int = 0  # the margins of so many it has passed, or need not
    used: bool = False
    frozen: dict[int, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return ":".join([f"{self.code}~{self.era}" if self.era else self.code, *self.key, self.period])

    def skip_to(self, value: int, state: str = "SKIPPED") -> None:
        for skipped in range(self.high + 1, value):
            self.states[skipped] = state
        self.high = max(self.high, value - 1)


@dataclass
class Held:
    """A reservation; `values` are those that are still reserved, `gone` how the others ended."""

    sequence: str
    values: list[int]
    version: Version
    since: int
    until: int
    gone: set[str] = field(default_factory=set)


@dataclass
class Fence:
    """What a restore passed over; `day` is the latest date that it was anywhere, `opened` was so before.

    `margins` are of the series that have another one than `margin`.
    """

    day: date
    margin: int
    opened: set[tuple[str, object, str]]
    named: set[tuple[str, str]]
    margins: dict[str, int]


class Model:
    def __init__(self) -> None:
        self.now = self.recorded = 0
        self.versions: dict[str, list[Version]] = {}
        self.first_used: dict[str, int] = {}
        self.retired: set[str] = set()
        self.opened: set[tuple[str, object, str]] = set()
        self.sequences: dict[str, Seq] = {}
        self.held: dict[str, Held] = {}
        self.fences: list[Fence] = []
        self.latest: dict[object, str] = {}
        self.replaced_by: dict[tuple[str, int], tuple[str, int]] = {}

    # What there is

    def today(self, version: Version) -> date:
        """Give the date in the zone of a version."""
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.now)
        return moment.astimezone(ZoneInfo(version.made.timezone)).date()

    def in_use(self, code: str) -> list[Version]:
        versions = self.versions[code]
        return versions[self.first_used.get(code, len(versions)) - 1 :]

    def active(self, code: str) -> Version:
        if code not in self.versions:
            raise Refused("NB001")
        if code in self.retired:
            raise Refused("NB047")
        return self.versions[code][-1]

    def present(self, code: str, era: int) -> Version:
        version = self.active(code)
        if version.era != era:
            raise Refused("NB012")
        return version

    def begun(self, code: str, version: Version, key: tuple[str, ...], period: str, *, ahead: bool = False) -> Seq:
        """Give a sequence that may count; a new one is not kept yet."""
        start = version.made.start
        new = Seq(code, version.era, key, period, start=start, high=start - 1, fences=len(self.fences))
        known = self.sequences.get(new.id)
        if (
            known is None
            and not ahead
            and period > version.period(self.today(version))
            and (code, version.counting, period) not in self.opened
        ):
            raise Refused("NB013")
        if known and known.closed:
            raise Refused("NB045")
        if known is None and (margins := self.margins(code, version, period)):
            if start + margins > version.max_value:
                raise Refused("NB002")
            new.skip_to(start + margins)
        return known or new

    def margins(self, code: str, version: Version, period: str) -> int:
        return sum(
            fence.margins.get(code, fence.margin)
            for fence in self.fences
            if period <= version.period(fence.day)
            or (code, version.counting, period) in fence.opened
            or (code, period) in fence.named
        )

    def keep(self, sequence: Seq, version: Version) -> None:
        self.sequences[sequence.id] = sequence
        self.first_used.setdefault(sequence.code, version.number)

    def use(self, sequence: Seq, version: Version) -> None:
        self.keep(sequence, version)
        if not sequence.used:
            sequence.used = True
            stem = sequence.code, sequence.era, sequence.key
            self.latest[stem] = max(self.latest.get(stem, ""), sequence.period)

    def check_order(self, sequence: Seq, version: Version) -> None:
        latest = self.latest.get((sequence.code, sequence.era, sequence.key), "")
        if version.made.date_order.value == "period" and sequence.period < latest:
            raise Refused("NB014")

    def read(self, number: str) -> tuple[Version, Seq, int, date, dict[str, str]]:
        """Read a number; the sequence may be one that has not begun."""
        found = None
        for code in sorted(self.versions):
            for version in self.in_use(code):
                said = version.parse(number)
                if said and self._day(version, said):
                    found = code, version, said
        if not found:
            raise Refused("NB041")
        code, version, said = found
        day = self._day(version, said)
        assert day is not None
        new = Seq(code, version.era, tuple(said[name] for name in version.key), version.period(day))
        attributes = {name: said[name] for name in version.made.attributes}
        return version, self.sequences.get(new.id, new), int(said["SEQ"]), day, attributes

    def _read_by(self, versions: Iterable[Version], number: str) -> tuple[Version, date, dict[str, str]] | None:
        """Read a number as the last of some versions does."""
        found = None
        for version in versions:
            said = version.parse(number)
            day = self._day(version, said) if said else None
            if said and day:
                found = version, day, said
        return found

    def _day(self, version: Version, said: Mapping[str, str]) -> date | None:
        """The last day that says this and is not after today, or else the first; None when no day does."""
        today = self.today(version)
        year = int(said.get("YYY", today.year))
        if "MM" in said:
            try:
                return date(year, int(said["MM"]), int(said["DD"]))
            except ValueError:
                return None
        if not 2000 <= year <= 2099:
            return None
        return today if year == today.year else date(year, 12, 31) if year < today.year else date(year, 1, 1)

    # Series

    def define(self, code: str, made: Definition, max_value: int) -> None:
        versions = self.versions.setdefault(code, [])
        if versions and versions[-1].made == made:
            return
        new = Version(len(versions) + 1, 0, made, max_value)
        if versions:
            self.active(code)
            if max_value < self._highest(code, new.counting):
                raise Refused("NB012")
        if code in self.first_used:
            eras = [each.era for each in self.in_use(code) if each.counting == new.counting]
            new.era = eras[0] if eras else new.number
        if new.number > 1 and (code in self.first_used):
            self._lower(code, new)
        versions.append(new)

    def _lower(self, code: str, new: Version) -> None:
        """Open what lies below the later starts of sequences that go on with this version."""
        for sequence in self.sequences.values():
            if sequence.code == code and sequence.era == new.era and not sequence.closed:
                self._begin_at(sequence, new)

    def _begin_at(self, sequence: Seq, version: Version) -> None:
        if version.made.start < sequence.start:
            opened = range(version.made.start, sequence.start)
            sequence.states = dict.fromkeys(opened, "PRE_CONTROL") | sequence.states
            sequence.start = version.made.start

    def _highest(self, code: str, counting: object) -> int:
        eras = {each.era for each in self.in_use(code) if each.counting == counting}
        mine = (each.high for each in self.sequences.values() if each.code == code and each.era in eras)
        return max(mine, default=-1)

    def maximum(self, code: str, max_value: int) -> None:
        version = self.active(code)
        printable = 10 ** int(version.made.template.partition("SEQ:")[2][0]) - 1
        if max_value < version.made.start or (max_value > printable and version.made.overflow.value == "error"):
            raise Refused("NB006")
        if max_value < self._highest(code, version.counting):
            raise Refused("NB012")
        version.max_value = max_value
        version.made = replace(version.made, max_value=max_value)

    def retire(self, code: str, accept: Collection[str] = ()) -> None:
        self.active(code)
        if "running" not in accept and self.is_running(code):
            raise Refused("NB070")
        self.retired.add(code)

    def is_running(self, code: str) -> bool:
        version = self.versions[code][-1]
        today = version.period(self.today(version))
        current = [
            each
            for each in self.sequences.values()
            if each.code == code and each.era == version.era and each.period >= today
        ]
        ahead = [period for of, counting, period in self.opened if of == code and counting == version.counting]
        return not current or not all(each.closed for each in current) or max(ahead, default="") > today

    def reopen_series(self, code: str) -> None:
        if code not in self.versions:
            raise Refused("NB001")
        if code not in self.retired:
            raise Refused("NB072")
        self.retired.discard(code)
        for sequence in self.sequences.values():
            if sequence.code == code and not sequence.closed and (owed := self.owed(sequence)):
                self.pass_margin(sequence, owed)

    def owed(self, sequence: Seq) -> int:
        return sum(fence.margins.get(sequence.code, fence.margin) for fence in self.fences[sequence.fences :])

    def pass_margin(self, sequence: Seq, margin: int) -> None:
        """Skip what lost events may have issued, or close the sequence where that leaves nothing."""
        counting = [each for each in self.in_use(sequence.code) if each.era == sequence.era][-1]
        sequence.pool = set()
        if margin and sequence.high + margin >= counting.max_value:
            sequence.closed = sequence.closed_by_fence = True
            sequence.frozen = dict(sequence.states)
        else:
            sequence.skip_to(sequence.high + margin + 1)
            sequence.fences = len(self.fences)

    # Reservations

    def reserve(
        self, code: str, token: str, key: Mapping[str, str], count: int, ttl: int, day: date | None, rev: str | None
    ) -> list[str]:
        version = self.active(code)
        if ttl > LIFETIME:
            raise Refused("NB011")
        if set(key) != set(version.key) or not version.fits(key):
            raise Refused("NB006")
        if rev is not None and not (
            "REV" in version.made.attributes and is_of(version.made.attributes["REV"].form, rev)
        ):
            raise Refused("NB006")
        day = day or self.today(version)
        sequence = self.begun(code, version, tuple(key[name] for name in version.key), version.period(day))
        self.check_order(sequence, version)
        again = sorted(sequence.pool)[:count] if version.made.reuse.value == "gapless" else []
        values = [*again, *range(sequence.high + 1, sequence.high + 1 + count - len(again))]
        if values[-1] > version.max_value and len(again) < count:
            raise Refused("NB002")
        self.use(sequence, version)
        attributes = dict.fromkeys(version.made.attributes, rev or "A")
        for value in values:
            sequence.states[value] = "RESERVED"
            number = version.print(key, day, value, attributes)
            sequence.prints[value] = Print(number, version, day, attributes)
        sequence.pool -= set(again)
        sequence.high = max(sequence.high, values[-1])
        self.held[token] = Held(sequence.id, values, version, self.now, self.now + ttl * SECOND)
        return [sequence.prints[value].number for value in values]

    def open(self, token: str) -> Held:
        held = self.held.get(token)
        if held is None:
            raise Refused("NB009")
        if not held.values:
            raise Refused(*("NB004" if end == "EXPIRED" else "NB010" for end in held.gone))
        return held

    def settle(self, held: Held, values: Iterable[int], end: str) -> None:
        sequence = self.sequences[held.sequence]
        for value in list(values):
            held.values.remove(value)
            held.gone.add(end)
            sequence.states[value] = end
            if end in ("CANCELLED", "EXPIRED") and self.versions[sequence.code][-1].made.reuse.value == "gapless":
                sequence.pool.add(value)

    def confirm(self, token: str, document: str | None, numbers: list[str] | None, *, release_rest: bool) -> None:
        held = self.open(token)
        prints = self.sequences[held.sequence].prints
        values = [value for value in held.values if numbers is None or prints[value].number in numbers]
        if numbers is not None and (not numbers or len(values) != len(numbers)):
            raise Refused("NB006")
        for value in values:
            prints[value].document = document
        self.settle(held, values, "CONFIRMED")
        if release_rest:
            self.settle(held, held.values, "CANCELLED")

    def extend(self, token: str, ttl: int) -> None:
        held = self.open(token)
        until = max(held.until, self.now + ttl * SECOND)
        if until > held.since + LIFETIME * SECOND:
            raise Refused("NB011")
        held.until = until

    def cancel(self, token: str) -> None:
        held = self.open(token)
        self.settle(held, held.values, "CANCELLED")

    def pass_time(self, now: int) -> None:
        """The clock may step back, but not behind the last event."""
        self.now = max(self.recorded, now)
        for held in self.held.values():
            if held.values and held.until <= self.now:
                self.settle(held, held.values, "EXPIRED")
                self.recorded = self.now

    def fence(self, margin: int, named: Iterable[tuple[str, str]], margins: Mapping[str, int]) -> None:
        if not set(margins) <= set(self.versions):
            raise Refused("NB006")
        for held in self.held.values():
            self.settle(held, held.values, "SKIPPED")
        for sequence in self.sequences.values():
            if sequence.closed or sequence.code in self.retired:
                continue
            self.pass_margin(sequence, margins.get(sequence.code, margin))
        latest = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.now, hours=14)
        self.fences.append(Fence(latest.date(), margin, set(self.opened), set(named), dict(margins)))
        for sequence in self.sequences.values():
            if not sequence.closed and sequence.code not in self.retired:
                sequence.fences = len(self.fences)

    # Numbers

    def check_skipped(self, skips: Iterable[tuple[Seq, Version, int]], max_skipped: int | None) -> None:
        """No more than `max_skipped`; without it, 1 000 at most and a tenth of what is left in each sequence."""
        skipped = [each for each in skips if each[2]]
        total = sum(count for _, _, count in skipped)
        if max_skipped is not None:
            if total > max_skipped:
                raise Refused("NB071")
        elif total > 1000 or any(10 * count > self.left(sequence, version) for sequence, version, count in skipped):
            raise Refused("NB071")

    def left(self, sequence: Seq, version: Version) -> int:
        """What a sequence can issue before the command; what it skips for restores as it begins is not gone yet."""
        high = sequence.high if sequence.id in self.sequences else version.made.start - 1
        again = len(sequence.pool) if version.made.reuse.value == "gapless" else 0
        return max(version.max_value - high, 0) + again

    def assign(self, number: str, document: str, max_skipped: int | None = None) -> None:
        version, sequence, value, day, attributes = self.read(number)
        present = self.present(sequence.code, sequence.era)
        if not present.made.manual:
            raise Refused("NB007")
        sequence = self.begun(sequence.code, present, sequence.key, sequence.period)
        self.check_order(sequence, present)
        if version.number != present.number and value not in sequence.states:
            raise Refused("NB033")
        if not sequence.start <= value <= present.max_value:
            raise Refused("NB036")
        if sequence.states.get(value, "SKIPPED") not in FREE:
            raise Refused("NB005")
        self.check_skipped([(sequence, present, max(value - sequence.high - 1, 0))], max_skipped)
        self.use(sequence, present)
        sequence.skip_to(value)
        sequence.high = max(sequence.high, value)
        sequence.pool.discard(value)
        sequence.states[value] = "CONFIRMED"
        sequence.prints[value] = Print(number, version, day, attributes, document, is_derived=True)

    def void(self, number: str, reason: str, token: str, *, replace: bool) -> None:
        if len(reason) < 10:
            raise Refused("NB006")
        _, sequence, value, _, _ = self.read(number)
        if sequence.states.get(value) != "CONFIRMED":
            raise Refused("NB042")
        printed = sequence.prints[value]
        if printed.number != number:
            raise Refused("NB043")
        sequence.states[value] = "VOIDED"
        if replace:
            key = dict(zip(printed.version.key, sequence.key, strict=True))
            declared = self.active(sequence.code).made.attributes
            rev = printed.attributes.get("REV") if declared else None
            self.reserve(sequence.code, token, key, 1, 300, printed.day, rev)
            held = self.held[token]
            self.replaced_by[sequence.id, value] = place = held.sequence, held.values[0]
            self.confirm(token, printed.document, None, release_rest=True)
            self.sequences[place[0]].prints[place[1]].is_derived = printed.is_derived

    def link(self, number: str, document: str) -> None:
        _, sequence, value, _, _ = self.read(number)
        if value not in sequence.states:
            raise Refused("NB041")
        if sequence.states[value] != "CONFIRMED":
            raise Refused("NB042")
        printed = sequence.prints[value]
        if printed.number != number:
            raise Refused("NB043")
        if printed.document != document:
            printed.linked += [document]
            printed.document = document

    def take_over(self, code: str, numbers: list[str], *, skip_bad: bool, max_skipped: int | None = None) -> None:
        good: dict[str, tuple[Seq, dict[int, Print]]] = {}
        bad = 0
        version = self.versions[code][-1]
        for number in numbers:
            read = self._read_by(self.in_use(code), number)
            if not read or read[0].era != version.era:
                bad += 1
                continue
            printed, day, said = read
            value, period = int(said["SEQ"]), printed.period(day)
            new = Seq(code, version.era, tuple(said[name] for name in version.key), period)
            sequence, rows = good.setdefault(new.id, (self.sequences.get(new.id, new), {}))
            today = self.today(version)
            ahead = day > today and period > version.period(today)
            is_late = printed is not version and value not in sequence.states
            start = max(version.made.start, sequence.start if new.id in self.sequences else 0)
            if (
                ahead
                or is_late
                or value in rows
                or not start <= value <= version.max_value
                or sequence.states.get(value, "SKIPPED") not in FREE
            ):
                bad += 1
                continue
            attributes = {name: said[name] for name in printed.made.attributes}
            rows[value] = Print(number, printed, day, attributes, is_derived=True)
        if bad and not skip_bad:
            raise Refused("NB032")
        skips = []
        for _, (new, rows) in sorted(good.items()):
            if rows:
                self.active(code)
                sequence = self.begun(code, version, new.key, new.period)
                if sequence.high >= sequence.start:
                    holes = max(max(rows) - sequence.high, 0) - sum(value > sequence.high for value in rows)
                    skips.append((sequence, version, holes))
        self.check_skipped(skips, max_skipped)
        for _, (new, rows) in sorted(good.items()):
            if rows:
                sequence = self.begun(code, version, new.key, new.period)
                hole = "SKIPPED" if sequence.high >= sequence.start else "PRE_CONTROL"
                self.use(sequence, version)
                for value, row in sorted(rows.items()):
                    sequence.skip_to(value, hole)
                    sequence.high = max(sequence.high, value)
                    sequence.pool.discard(value)
                    sequence.states[value] = "CONFIRMED"
                    sequence.prints[value] = row

    # Sequences

    def place(self, id: str) -> tuple[str, int, tuple[str, ...], str]:
        head, *key, period = id.split(":")
        code, _, era = head.partition("~")
        eras = [each for each in self.in_use(code) if each.era == int(era or 0)] if code in self.versions else []
        if not eras or len(eras[-1].key) != len(key) or not re.fullmatch(PERIODS[eras[-1].made.reset.value], period):
            raise Refused("NB044")
        if not eras[-1].fits(dict(zip(eras[-1].key, key, strict=True))):
            raise Refused("NB006")
        return code, eras[-1].era, tuple(key), period

    def adjust(self, id: str, next_value: int, max_skipped: int | None = None) -> None:
        code, era, key, period = self.place(id)
        version = self.present(code, era)
        sequence = self.begun(code, version, key, period)
        if next_value > version.max_value:
            raise Refused("NB036")
        if next_value <= sequence.high + 1:
            raise Refused("NB048")
        self.check_skipped([(sequence, version, next_value - sequence.high - 1)], max_skipped)
        self.keep(sequence, version)
        sequence.skip_to(next_value)

    def check_name(self, version: Version, period: str) -> None:
        if version.made.reset.value == "never":
            raise Refused("NB049")
        if not re.fullmatch(PERIODS[version.made.reset.value], period):
            raise Refused("NB006")

    def check_far(self, version: Version, period: str, accept: Collection[str]) -> None:
        """The first day may be 13 months ahead."""
        first = date.fromisoformat({4: f"{period}-01-01"}.get(len(period), period))
        today = self.today(version)
        months, day = 12 * today.year + today.month + 12, today.day
        last = (date(months // 12 + (months % 12 + 1) // 12, (months + 1) % 12 + 1, 1) - timedelta(days=1)).day
        if "far" not in accept and first > date(months // 12, months % 12 + 1, min(day, last)):
            raise Refused("NB070")

    def begin(self, code: str, version: Version, key: tuple[str, ...], period: str, accept: Collection[str]) -> None:
        self.check_name(version, period)
        sequence = self.begun(code, version, key, period, ahead=True)
        if sequence.id in self.sequences:
            raise Refused("NB050")
        self.check_order(sequence, version)
        self.check_far(version, period, accept)
        self.keep(sequence, version)

    def open_period(self, code: str, period: str, key: Mapping[str, str] | None, accept: Collection[str] = ()) -> None:
        version = self.active(code)
        if key is not None or not version.key:
            if set(key or {}) != set(version.key) or not version.fits(key or {}):
                raise Refused("NB006")
            self.begin(code, version, tuple((key or {})[name] for name in version.key), period, accept)
            return
        self.check_name(version, period)
        if period <= version.period(self.today(version)) or (code, version.counting, period) in self.opened:
            raise Refused("NB050")
        keys = product(*(version.made.dimensions[name].values for name in version.key))
        if version.made.date_order.value == "period" and all(
            self.latest.get((code, version.era, each), "") > period for each in keys
        ):
            raise Refused("NB014")
        self.check_far(version, period, accept)
        self.opened.add((code, version.counting, period))

    def reset(self, id: str, accept: Collection[str] = ()) -> None:
        code, era, key, period = self.place(id)
        version = self.present(code, era)
        following = "-"
        if version.made.reset.value == "yearly":
            following = str(int(period) + 1)
        if version.made.reset.value == "daily":
            following = (date.fromisoformat(period) + timedelta(days=1)).isoformat()
        self.begin(code, version, key, following, accept)

    def close(self, id: str, accept: Collection[str] = ()) -> None:
        sequence = self.sequences.get(id)
        if sequence is None:
            code, era, key, period = self.place(id)
            version = self.present(code, era)
            sequence = self.begun(code, version, key, period)
            self.keep(sequence, version)
        if sequence.closed:
            raise Refused("NB045")
        if "RESERVED" in sequence.states.values():
            raise Refused("NB046")
        counting = [each for each in self.in_use(sequence.code) if each.era == sequence.era][-1]
        is_over = sequence.code in self.retired or self.versions[sequence.code][-1].era != sequence.era
        if "running" not in accept and not is_over and sequence.period >= counting.period(self.today(counting)):
            raise Refused("NB070")
        sequence.closed = True
        sequence.pool = set()
        sequence.frozen = dict(sequence.states)

    def reopen(self, id: str) -> None:
        sequence = self.sequences.get(id)
        if sequence is None:
            self.place(id)
            raise Refused("NB044")
        version = self.present(sequence.code, sequence.era)
        if not sequence.closed or sequence.closed_by_fence or sequence.states:
            raise Refused("NB072")
        owed = self.owed(sequence)
        if owed and sequence.high + owed >= version.max_value:
            raise Refused("NB002")
        sequence.closed = False
        sequence.frozen = {}
        if owed:
            self.pass_margin(sequence, owed)
        self._begin_at(sequence, version)

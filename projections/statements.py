"""The statements that write and load a slot, compiled once for a dialect."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Dialect,
    Executable,
    Insert,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    update,
)
from sqlalchemy.dialects import mysql, sqlite

from projections.apply import Change
from projections.schema import SLOTS, Slot

__all__ = ["Bulk", "Statements", "statements"]

Row = tuple[Any, ...]

CHANGE = tuple(field.name for field in fields(Change))
CHANGE_WHERE = ("sequence_at", "first", "last")


class Bulk:
    """A statement for many rows, of which the values named in `given` are in each row, in this order."""

    def __init__(self, statement: Executable, dialect: Dialect, given: Sequence[str]) -> None:
        compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        self.text = str(compiled)
        names: Sequence[str] = compiled.positiontup
        constants = {name: compiled.params[name] for name in names if name not in given}
        self._constants = tuple(constants.values())
        order = [*given, *constants]
        self._places = [order.index(name) for name in names]
        self._is_as_given = self._places == list(range(len(given)))

    def rows(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Give the rows as the driver takes them."""
        if self._is_as_given:
            return rows
        constants, places = self._constants, self._places
        return [tuple([whole[place] for place in places]) for whole in ((*row, *constants) for row in rows)]


class Statements:
    """What is done to one slot. Each takes a row with the columns of its table in order, unless it says otherwise."""

    def __init__(self, slot: Slot, dialect: Dialect) -> None:
        self.slot = slot
        self._dialect = dialect
        numbers, gaps = slot.numbers, slot.gaps
        names: list[str] = numbers.columns.keys()
        self.change_numbers = self._bulk(_change(numbers), [_of(name) for name in CHANGE])
        self.reissue_numbers = self._bulk(_reissue(numbers), [_of(name) for name in names])
        self.insert_numbers = self._bulk(insert(numbers), names)
        self.put_reservations, self.put_sequences, self.put_series, self.put_gaps = (
            self._bulk(self._upsert(table), table.columns.keys())
            for table in (slot.reservations, slot.sequences, slot.series, gaps)
        )
        of_sequence = gaps.c.sequence_at == bindparam("of_sequence")
        of_place = and_(of_sequence, gaps.c.first == bindparam("of_first"))
        self.delete_gaps = self._bulk(delete(gaps).where(of_place), ("of_sequence", "of_first"))
        empty = update(gaps).where(of_sequence, gaps.c.released == 1).values(released=0)
        of_number = and_(numbers.c.sequence_at == bindparam("of_sequence"), numbers.c.value == bindparam("of_value"))
        link = update(numbers).where(of_number).values(document=bindparam("new_document"))
        self.link_numbers = self._bulk(link, ("new_document", "of_sequence", "of_value"))
        self.insert_links = self._bulk(insert(slot.links), slot.links.columns.keys())
        self.empty_gaps = self._bulk(empty, ("of_sequence",))

    def _bulk(self, statement: Executable, given: Sequence[str]) -> Bulk:
        return Bulk(statement, self._dialect, given)

    def _upsert(self, table: Table) -> Insert:
        keys = [column.name for column in table.primary_key]
        rest = [column.name for column in table.columns if column.name not in keys]
        if self._dialect.name == "sqlite":
            lite = sqlite.insert(table)
            return lite.on_conflict_do_update(index_elements=keys, set_={name: lite.excluded[name] for name in rest})
        maria = mysql.insert(table)
        return maria.on_duplicate_key_update({name: maria.inserted[name] for name in rest})


_COMPILED: dict[tuple[str, str], Statements] = {}


def statements(slot: str, dialect: Dialect) -> Statements:
    """Compile a slot's statements once for a kind of database: each engine has a dialect of its own."""
    known = slot, dialect.name
    if known not in _COMPILED:
        _COMPILED[known] = Statements(SLOTS[slot], dialect)
    return _COMPILED[known]


def _change(numbers: Table) -> Update:
    """Change a range of numbers; takes a Change. What it leaves as it is is '' or 0 there."""
    zero: ColumnElement[int] = literal_column("0")
    blank: ColumnElement[str] = literal_column("''")
    empty = {"confirmed_position": zero, "confirmed_at": zero, "document": blank, "replaced_by": blank}
    kept: dict[str, Any] = {
        name: func.coalesce(func.nullif(bindparam(_of(name)), none), numbers.c[name]) for name, none in empty.items()
    }
    given: dict[str, Any] = {
        name: bindparam(_of(name)) for name in CHANGE if name not in kept and name not in CHANGE_WHERE
    }
    in_range = numbers.c.value.between(bindparam(_of("first")), bindparam(_of("last")))
    return update(numbers).where(numbers.c.sequence_at == bindparam(_of("sequence_at")), in_range).values(given | kept)


def _reissue(numbers: Table) -> Update:
    """Replace a whole row, which is there."""
    keys = numbers.primary_key.columns
    rest: dict[str, Any] = {
        column.name: bindparam(_of(column.name)) for column in numbers.columns if not column.primary_key
    }
    return update(numbers).where(*(column == bindparam(_of(column.name)) for column in keys)).values(rest)


def _of(name: str) -> str:
    """Name a parameter: Core keeps the columns' own names for itself."""
    return f"new_{name}"

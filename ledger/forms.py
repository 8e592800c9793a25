"""How the data of an event is written and read: derived from the fields of its class, once, when the ledger is loaded.

A field is stored under its own name, in the form of its type; `places.Written` names the exceptions, beside the field.
What is None is left out. The `token` is not in the data, because the body says it for every event alike. A `Numbering`
and a `Series` have no name of their own in the data: what they consist of stands there directly.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date
from functools import lru_cache
from operator import itemgetter
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from ledger.definitions import definition_data, definition_of
from ledger.domain.places import Numbering, Written
from ledger.domain.ranges import Ranges, count_of
from ledger.domain.sequence import ValueState
from ledger.domain.series import Series

__all__ = ["Data", "Form", "derived", "numbering_data", "numbering_of", "ranges_of"]

Data = dict[str, Any]

PLAIN = {str, int}  # what stands in the data as it is
DERIVED = "date_is_derived"
CACHED = 65_536  # numberings: of sequences, days and attributes


class Form(NamedTuple):
    """How events of one class become data, and data, with the token of the body, such events again."""

    write: Callable[[Any], Data]
    read: Callable[[Data, Any], Any]


# Values: how one is written, and how it is read. None where it stands in the data as it is.

_Change = Callable[[Any], Any] | None


class _Value(NamedTuple):
    write: _Change = None
    read: _Change = None


class _Member(NamedTuple):
    """A field: `put` writes it from the event into the data, `take` reads it from the data and the token."""

    put: Callable[[Any, Data], None] | None
    take: Callable[[Data, str | None], Any]


def derived(of: type) -> Form:
    """Derive the form of a dataclass from its fields."""
    hints = get_type_hints(of, include_extras=True)
    members = [_member(field.name, hints[field.name]) for field in fields(of)]
    puts = [member.put for member in members if member.put]
    takes = [member.take for member in members]

    def write(value: Any) -> Data:
        data: Data = {}
        for put in puts:
            put(value, data)
        return data

    def read(data: Data, token: str | None) -> Any:
        return of(*[take(data, token) for take in takes])

    return Form(write, read)


def _member(name: str, hint: Any) -> _Member:
    kind, written = _unwrapped(hint)
    if name == "token":
        return _Member(None, lambda _, token: token)
    if kind in _SPREAD:
        return _spread(name, *_SPREAD[kind])
    if type(None) in get_args(kind):
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
        return _left_out(name, _value(kind, written), None)
    if written is Written.MARK:
        return _mark(name)
    if written is Written.SPARSE:
        return _left_out(name, _value(kind, None), ())
    return _always(name, _value(kind, written))


def _unwrapped(hint: Any) -> tuple[Any, Written | None]:
    return get_args(hint) if get_origin(hint) is Annotated else (hint, None)


def _always(name: str, form: _Value) -> _Member:
    write, read = form

    def put(event: Any, data: Data) -> None:
        value = getattr(event, name)
        data[name] = write(value) if write else value

    if read is None:
        return _Member(put, lambda data, _: data[name])
    return _Member(put, lambda data, _: read(data[name]))


def _left_out(name: str, form: _Value, empty: object) -> _Member:
    """Write a field only when it is not `empty`."""
    write, read = form

    def put(event: Any, data: Data) -> None:
        value = getattr(event, name)
        if value != empty:
            data[name] = write(value) if write else value

    def take(data: Data, _: str | None) -> Any:
        if name not in data:
            return empty
        return read(data[name]) if read else data[name]

    return _Member(put, take)


def _mark(name: str) -> _Member:
    """Write a truth only when it is one."""

    def put(event: Any, data: Data) -> None:
        if getattr(event, name):
            data[name] = 1

    return _Member(put, lambda data, _: _is_marked(data, name))


def _is_marked(data: Data, name: str) -> bool:
    if name not in data:
        return False
    if data[name] != 1 or isinstance(data[name], bool | float):
        raise ValueError(f"{name} is {data[name]!r}, and not 1")
    return True


def _spread(name: str, write: Callable[[Any], Data], read: Callable[[Data], Any]) -> _Member:
    """Write what a value consists of beside the other fields."""

    def put(event: Any, data: Data) -> None:
        data.update(write(getattr(event, name)))

    return _Member(put, lambda data, _: read(data))


def _value(kind: Any, written: Written | None) -> _Value:
    if written is Written.AS_OBJECT:
        return _Value(dict, lambda data: tuple(sorted(data.items())))
    if written is Written.WITH_COUNTS:
        return _Value(_counted, _uncounted)
    if kind is str:
        return _Value(_text)
    if kind is int:
        return _Value(_integer)
    if kind is date:
        return _Value(date.isoformat, date.fromisoformat)
    if kind == Ranges:
        return _Value(None, ranges_of)
    if get_origin(kind) is tuple:
        return _of_tuple(get_args(kind))
    if is_dataclass(kind):
        form = derived(kind)  # type: ignore[arg-type]
        return _Value(form.write, lambda data: form.read(data, None))
    return _of_names(kind)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _integer(value: Any) -> int:
    """JSON has one kind of number, Python has several that are equal: 4.0 is 4, and True is 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no integer")
    return value


def _of_tuple(kinds: tuple[Any, ...]) -> _Value:
    """Write a tuple as an array: of any number of one kind, or of one value of each kind, which must be plain."""
    if kinds[-1] is not Ellipsis:
        assert set(kinds) <= PLAIN, f"{kinds} has no form yet"
        count = len(kinds)
        return _Value(None, lambda data: _exactly(count, data))
    write, read = _value(kinds[0], None)
    return _Value(write and (lambda values: [write(each) for each in values]), _reader_of_many(read))


def _reader_of_many(read: _Change) -> Callable[[Any], Any]:
    return (lambda data: tuple([read(each) for each in data])) if read else tuple


def _exactly(count: int, data: Any) -> tuple[Any, ...]:
    if len(data) != count:
        raise ValueError(f"{data} are not {count} values")
    return tuple(data)


def _of_names(kind: Any) -> _Value:
    """Write a named tuple of plain values as an object."""
    names = kind._fields
    assert set(get_type_hints(kind).values()) <= PLAIN, f"{kind} has no form yet"
    take = itemgetter(*names)
    return _Value(lambda value: dict(zip(names, value, strict=True)), lambda data: kind(*take(data)))


def _counted(accounting: tuple[tuple[ValueState, Ranges], ...]) -> Data:
    return {state.value: {"count": count_of(ranges), "ranges": ranges} for state, ranges in accounting}


def _uncounted(data: Data) -> tuple[tuple[ValueState, Ranges], ...]:
    found = ((state, data.get(state.value)) for state in ValueState)
    return tuple((state, ranges_of(its["ranges"])) for state, its in found if its)


def ranges_of(data: Any) -> Ranges:
    return tuple([(first, last) for first, last in data])  # a list is quicker than a generator, and most hold one


# What is spread, written out by hand: most events have a numbering.


def numbering_data(numbering: Numbering) -> Data:
    data = {
        "sequence": numbering.sequence,
        "series": numbering.series,
        "series_version": numbering.series_version,
        "key": numbering.key,
        "period": numbering.period,
        "document_date": numbering.document_date.isoformat(),
        "attributes": dict(numbering.attributes),
        "tzdata": numbering.tzdata,
    }
    if numbering.date_is_derived:
        data[DERIVED] = 1
    return data


def numbering_of(data: Data) -> Numbering:
    is_derived = DERIVED in data and _is_marked(data, DERIVED)
    return _numbering_of(_NUMBERING(data), tuple(data["key"]), tuple(data["attributes"].items()), is_derived)


_NUMBERING = itemgetter("sequence", "series", "series_version", "period", "document_date", "tzdata")


@lru_cache(maxsize=CACHED)  # the numbers of a sequence on one day share one, which is made once and takes memory once
def _numbering_of(
    said: tuple[Any, ...], key: tuple[str, ...], attributes: tuple[tuple[str, str], ...], is_derived: bool
) -> Numbering:
    sequence, series, version, period, day, tzdata = said
    pairs = tuple(sorted(attributes))
    return Numbering(sequence, series, version, key, period, date.fromisoformat(day), pairs, tzdata, is_derived)


def _series_data(series: Series) -> Data:
    return {
        "series": series.code,
        "series_version": series.version,
        "definition": definition_data(series.definition) | {"manual": int(series.definition.manual)},
    }


def _series_of(data: Data) -> Series:
    return Series.define(data["series"], definition_of(data["definition"]), data["series_version"])


_SPREAD: dict[Any, tuple[Callable[[Any], Data], Callable[[Data], Any]]] = {
    Numbering: (numbering_data, numbering_of),
    Series: (_series_data, _series_of),
}

"""Request bodies: shape and types are checked here, meaning in the domain. The names are design.md's."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ledger.domain.acceptance import Acceptance
from ledger.domain.calendar import Reset, instant_of
from ledger.domain.commands import Choice, Reserve
from ledger.domain.decisions.guards import MAX_DOCUMENT_LENGTH, MAX_REASON_LENGTH
from ledger.domain.rejection import Code, Rejection
from ledger.domain.sequence import ValueState
from ledger.domain.series import MAX_VALUE, Attribute, DateOrder, Definition, Dimension, Overflow, Reuse
from ledger.domain.text import flaw_of_text

__all__ = [
    "MAX_COMMANDS",
    "ActBody",
    "AdjustMaximumBody",
    "AdjustSequenceBody",
    "AnyBody",
    "AsOfQuery",
    "AssignBody",
    "BatchBody",
    "Body",
    "CancelBody",
    "ClosePeriodBody",
    "ConfirmBody",
    "DefineSeriesBody",
    "EventsQuery",
    "ExtendBody",
    "GapsQuery",
    "ImportBody",
    "IssueBody",
    "LastEventId",
    "LinkBody",
    "NumbersQuery",
    "OpenPeriodBody",
    "PreviewBody",
    "Query",
    "ReopenBody",
    "ReservationsQuery",
    "ReserveBody",
    "ResetSequenceBody",
    "RetireSeriesBody",
    "Search",
    "SequencesQuery",
    "SeriesBody",
    "StreamQuery",
    "VoidBody",
    "checked",
    "parse",
]

MAX_ERRORS = 20
MAX_SHOWN_LENGTH = 50
MAX_COMMANDS = 1000
MAX_SEQUENCES = 1000
MAX_RANGES = 10_000
MAX_EVENTS = 1000
MAX_FOUND = 1000
MAX_SOUGHT_LENGTH = 500
MAX_WHOLE = 2**53 - 1  # as far as every JSON reader counts


def _day(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        raise ValueError("must be a date written YYYY-MM-DD")
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"is {text}, which is no date of the calendar") from None
    return text


def _sound_text(at_most: int) -> AfterValidator:
    """Accept text as the ledger holds it."""

    def check(text: str) -> str:
        flaw = flaw_of_text(text, at_most=at_most)
        if flaw:
            raise ValueError(flaw)
        return text

    return AfterValidator(check)


Text = Annotated[str, Field(max_length=500)]
Document = Annotated[str, Field(max_length=MAX_DOCUMENT_LENGTH)]
Whole = Annotated[int, Field(ge=-MAX_WHOLE, le=MAX_WHOLE)]
Name = Annotated[str, Field(max_length=50)]
Fields = Annotated[dict[Name, Text], Field(max_length=50)]
Day = Annotated[str, AfterValidator(_day)]
Reason = Annotated[str, _sound_text(MAX_REASON_LENGTH)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ActBody(Body):
    """What can be tried out first: with `dry_run` it is told what the command would do, and nothing is written."""

    dry_run: bool = False


class AcceptingBody(ActBody):
    accept: Annotated[list[Annotated[Acceptance, Field(strict=False)]], Field(max_length=10)] = []


class SkippingBody(ActBody):
    max_skipped: Annotated[int, Field(ge=0, le=MAX_WHOLE)] | None = None


class DimensionBody(Body):
    values: list[Text] = []
    chars: Text = ""
    min: Whole = 1
    max: Whole = 50

    def form(self) -> Dimension:
        return Dimension(tuple(self.values), self.chars, self.min, self.max)


class AttributeBody(DimensionBody):
    default: Text | None = None


class SeriesBody(Body):
    template: Text
    key: list[Name] | None = None
    dimensions: Annotated[dict[Name, DimensionBody], Field(max_length=50)] = {}
    attributes: Annotated[dict[Name, AttributeBody], Field(max_length=50)] = {}
    reset: Annotated[Reset, Field(strict=False)] = Reset.NEVER
    fiscal_year_start: Name = "01-01"
    timezone: Annotated[str, Field(max_length=50)] = "UTC"
    date_order: Annotated[DateOrder, Field(strict=False)] = DateOrder.NONE
    start: Whole = 1
    max_value: Whole | None = None
    overflow: Annotated[Overflow, Field(strict=False)] = Overflow.ERROR
    reuse: Annotated[Reuse, Field(strict=False)] = Reuse.NEVER
    reservation_ttl_seconds: Whole | None = None
    reservation_max_lifetime_seconds: Whole = 86_400
    manual: bool = True
    warn_at_percent: Annotated[list[Whole], Field(max_length=10)] = [90, 95]
    description: Annotated[str, Field(max_length=1000)] = ""

    def definition(self) -> Definition:
        given: dict[str, Any] = {name: getattr(self, name) for name in SeriesBody.model_fields}
        given["key"] = None if self.key is None else tuple(self.key)
        given["dimensions"] = {name: body.form() for name, body in self.dimensions.items()}
        given["attributes"] = {name: Attribute(body.form(), body.default) for name, body in self.attributes.items()}
        given["warn_at_percent"] = tuple(self.warn_at_percent)
        return Definition(**given)


def _date_of(day: str | None) -> date | None:
    return None if day is None else date.fromisoformat(day)


class DefineSeriesBody(SeriesBody, ActBody):
    """A series as it is defined over HTTP, where it can be tried out."""


class PreviewBody(Body):
    series: Text
    key: Fields = {}
    count: Whole = 1
    document_date: Day | None = None
    attributes: Fields = {}

    def reserve(self, token: str, default_ttl_seconds: int, ttl_seconds: int | None = None) -> Reserve:
        day = _date_of(self.document_date)
        return Reserve(self.series, token, self.key, self.count, ttl_seconds, default_ttl_seconds, day, self.attributes)


class ReserveBody(PreviewBody):
    ttl_seconds: Whole | None = None


class IssueBody(PreviewBody):
    document: Document


class ChoiceBody(Body):
    number: Text
    document: Document | None = None


def _choice(value: object) -> object:
    """A number alone stands for a choice without a document of its own."""
    return {"number": value} if isinstance(value, str) else value


class ConfirmBody(Body):
    document: Document | None = None
    numbers: Annotated[list[Annotated[ChoiceBody, BeforeValidator(_choice)]], Field(max_length=10_000)] | None = None
    release_rest: bool = True

    def choices(self) -> tuple[Choice, ...] | None:
        if self.numbers is None:
            return None
        return tuple(Choice(chosen.number, chosen.document) for chosen in self.numbers)


class ExtendBody(Body):
    ttl_seconds: Whole


class CancelBody(Body):
    reason: Reason | None = None


class AssignBody(SkippingBody):
    number: Text
    document: Document
    reason: Reason
    document_date: Day | None = None

    def day(self) -> date | None:
        return _date_of(self.document_date)


class VoidBody(Body):
    reason: Reason
    replace: bool = False
    document_date: Day | None = None

    def day(self) -> date | None:
        return _date_of(self.document_date)


class LinkBody(Body):
    document: Document
    reason: Reason


# What the owners of series and sequences do


class AdjustMaximumBody(ActBody):
    max_value: Whole
    reason: Reason


class RetireSeriesBody(AcceptingBody):
    reason: Reason | None = None


class OpenPeriodBody(AcceptingBody):
    period: Name
    key: Fields | None = None
    reason: Reason | None = None


class AdjustSequenceBody(SkippingBody):
    next_value: Whole
    reason: Reason


class ResetSequenceBody(AcceptingBody):
    period: Name | None = None
    reason: Reason | None = None


class ClosePeriodBody(AcceptingBody):
    reason: Reason | None = None


class ReopenBody(ActBody):
    """Of a period, or of a series."""

    reason: Reason


def _as_row(value: object) -> object:
    return {"number": value} if isinstance(value, str) else value


class RowBody(Body):
    """A row of a register with what it tells beside the number. A row that is wrong is told with the others."""

    number: str
    document_date: str = ""
    document: str = ""


class ImportBody(SkippingBody):
    """`numbers` are the rows of a register: each a number, or a number with its date and document.

    A CSV comes as it is.
    """

    series: list[Name]
    numbers: list[Annotated[RowBody, BeforeValidator(_as_row, json_schema_input_type=str | RowBody)]] = []
    skip_bad: bool = False


class BatchBody(Body):
    """Each command is an operation's name, its body and what its path would name; they are checked one by one."""

    commands: Annotated[list[object], Field(min_length=1, max_length=MAX_COMMANDS)]
    atomic: bool = False


# Queries: what comes in the path's query, where everything is text


def _whole(value: object) -> object:
    """A number may be given as text, as in a query."""
    if isinstance(value, str):
        if not re.fullmatch(r"\d{1,16}", value, re.ASCII):
            raise ValueError("must be a whole number")
        return int(value)
    return value


def _instant(value: object) -> object:
    """An instant, in microseconds since 1970 UTC. A `+` that stands bare in a query is a blank when it arrives."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value.strip().replace(" ", "+"))
    except ValueError:
        raise ValueError("must be an instant such as 2026-11-25T09:30:00+07:00") from None
    if moment.tzinfo is None:
        raise ValueError("must say its offset from UTC, as 2026-11-25T09:30:00Z or 2026-11-25T09:30:00+07:00 do")
    return instant_of(moment)


def _states(given: Iterable[str]) -> list[ValueState]:
    """States may be repeated, or stand in one text with commas between them."""
    names = [name.strip() for each in given for name in str(each).split(",")]
    unknown = [name for name in names if name not in set(ValueState)]
    if unknown:
        raise ValueError(f"is {unknown[0][:50]!r}, which is no state; known are {', '.join(ValueState)}")
    return [ValueState(name) for name in names]


Instant = Annotated[int, BeforeValidator(_instant)]
Before = Annotated[Instant, AfterValidator(lambda instant: instant - 1)]

# Anything but text as the ledger holds it could only find nothing, and not say why.
Sought = Annotated[str, _sound_text(MAX_SOUGHT_LENGTH)]

Position = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MAX_WHOLE)]


class Query(Body):
    """What every GET takes. `min_position` is a position that an earlier answer gave; this one is to be as fresh."""

    min_position: Position = 0


class SequencesQuery(Query):
    """`after` is the id of the last sequence of the page before."""

    series: Text | None = None
    after: Annotated[str, Field(max_length=1000)] = ""
    limit: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_SEQUENCES)] = 100


class AsOfQuery(Query):
    """A moment, by one of two names. `after` goes on in the lists, `first` in the numbers of a `sequence`."""

    position: Position | None = None
    time: Instant | None = None
    series: Text | None = None
    after: Annotated[str, Field(max_length=100)] = ""
    sequence: Annotated[str, Field(max_length=1000)] | None = None
    first: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MAX_VALUE)] | None = None
    limit: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_SEQUENCES)] = 100


class GapsQuery(Query):
    """`first` is the value to begin with; no `state` means every state."""

    first: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MAX_VALUE)] | None = None
    state: Annotated[list[ValueState], BeforeValidator(_states)] = list(ValueState)
    limit: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_RANGES)] = 1000


class Search(Query):
    """A search gives a page and, as `next`, the `after` of the following one, for which all else must be the same."""

    after: Annotated[str, Field(max_length=100)] = ""
    limit: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_FOUND)] = 100

    def asked(self) -> dict[str, Any]:
        """Give the filters that were given, by the names that the projections have for them."""
        return self.model_dump(exclude={"min_position", "after", "limit"}, exclude_none=True)

    def filters(self) -> dict[str, object]:
        """Give them as JSON can write them, to know the query again."""
        return {name: sorted(each) if isinstance(each, frozenset) else each for name, each in self.asked().items()}


def _given_states(given: frozenset[ValueState]) -> frozenset[ValueState]:
    """What was never printed is no number to be found; the gaps of its sequence account for it."""
    if ValueState.PRE_CONTROL in given:
        raise ValueError("is PRE_CONTROL, in which no number was printed; ask for the gaps of its sequence")
    return given


States = Annotated[
    frozenset[ValueState],
    BeforeValidator(lambda given: frozenset(_states(given))),
    AfterValidator(_given_states),
]


class NumbersQuery(Search):
    """`from` and `to` are of the event that gave a number out last, and `to` is not included."""

    series: Sought | None = None
    states: Annotated[States | None, Field(alias="state")] = None
    document: Sought | None = None
    actor: Sought | None = None
    prefix: Sought | None = None
    from_time: Annotated[Instant | None, Field(alias="from")] = None
    to_time: Annotated[Before | None, Field(alias="to")] = None


class ReservationsQuery(Search):
    series: Sought | None = None
    states: Annotated[States | None, Field(alias="state")] = None


class EventsQuery(Query):
    """`after` is the position of the last event that is known already."""

    after: Position = 0
    limit: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_EVENTS)] = 100


class StreamQuery(Body):
    """Without `after`, a stream begins at the end of the log."""

    after: Position | None = None


class LastEventId(Body):
    """The header with which a client resumes a stream (HTML standard, 9.2.4)."""

    position: Annotated[Position, Field(alias="Last-Event-ID")]


_NESTED: Mapping[str, type[Body]] = {
    "attributes": AttributeBody,
    "dimensions": DimensionBody,
    "numbers": ChoiceBody,
}

AnyBody = TypeVar("AnyBody", bound=Body)


def parse(model: type[AnyBody], body: bytes, *, name: str = "the body") -> AnyBody:
    """Read a body; a Rejection names every field that is wrong. An empty body stands for an empty object.

    `name` is what it is called in what is said of it.
    """
    try:
        parsed = model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _rejection(model, error.errors(include_url=False), name) from None
    # pydantic takes the last of two equal names; a proxy may take the first, and would see another request.
    json.loads(body or b"{}", object_pairs_hook=partial(_refuse_repeated_names, name))
    return parsed


def checked(model: type[AnyBody], data: object) -> AnyBody:
    """Check what was read from elsewhere than JSON; a Rejection names every field that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _rejection(model, error.errors(include_url=False)) from None


def _refuse_repeated_names(name: str, pairs: list[tuple[str, object]]) -> None:
    names = [each for each, _ in pairs]
    if len(set(names)) != len(names):
        repeated = next(each for each in names if names.count(each) > 1)
        raise Rejection(Code.MALFORMED_JSON, f"{name} has the name {repeated[:50]!r} twice in one object; send it once")


def _rejection(model: type[Body], found: list[ErrorDetails], name: str = "the body") -> Rejection:
    first = found[0]
    if first["type"] == "json_invalid":
        return Rejection(Code.MALFORMED_JSON, f"{name} is not JSON: {first['ctx']['error']}")
    if not first["loc"]:
        return Rejection(Code.MALFORMED_JSON, f"{name} must be a JSON object")
    errors = [(_path(error), _problem(model, error)) for error in found[:MAX_ERRORS]]
    return Rejection(Code.INVALID_FORMAT, "; ".join(f"{path} {flaw}" for path, flaw in errors[:3]), errors)


def _path(error: ErrorDetails) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"] if part != "[key]")
    return text.removeprefix(".")[:100]


def _problem(model: type[Body], error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        return "is not a known field" + _hint(model, error["loc"])
    if error["type"] in _WANTED:
        return f"must be {_WANTED[error['type']].format(**error.get('ctx', {}))}, not {_shortly(error['input'])}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])  # of a validator of ours, whose words go on where the field's name ends
    return f"is wrong: {error['msg']}"


# What pydantic wants, by its error type (docs.pydantic.dev, Validation Errors), in our words.
_WANTED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "enum": "{expected}",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "{le} or less",
    "list_type": "a list",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "string_too_long": "a text of {max_length} characters or less",
    "string_type": "a text",
    "too_long": "a list of {max_length} or less",
    "too_short": "a list of {min_length} or more",
}


def _shortly(value: object) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return f"a list of {len(value)}"
        case None | True | False:
            return json.dumps(value)
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}…"


def _hint(model: type[Body], location: tuple[int | str, ...]) -> str:
    of = _NESTED.get(str(location[0]), model) if len(location) > 1 else model
    fields = [field.alias or name for name, field in of.model_fields.items() if name not in ActBody.model_fields]
    fields += ActBody.model_fields.keys() & of.model_fields.keys()
    near = get_close_matches(str(location[-1]), fields, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(fields)}"

"""Request bodies: shape and types are checked here, meaning in the domain. The names are design.md's."""

import json
import re
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ledger.domain.calendar import Reset
from ledger.domain.commands import Choice, Reserve
from ledger.domain.rejection import Code, Rejection
from ledger.domain.series import Attribute, DateOrder, Definition, Dimension, Overflow, Reuse
from ledger.domain.text import flaw_of_text

__all__ = [
    "CancelBody",
    "ConfirmBody",
    "ExtendBody",
    "ImportBody",
    "IssueBody",
    "PreviewBody",
    "ReserveBody",
    "SeriesBody",
    "checked",
    "parse",
]

MAX_ERRORS = 20
MAX_REASON_LENGTH = 500


def _day(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        raise ValueError("must be a date written YYYY-MM-DD")
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"is {text}, which is no date of the calendar") from None
    return text


Text = Annotated[str, Field(max_length=500)]
Name = Annotated[str, Field(max_length=50)]
Fields = Annotated[dict[Name, Text], Field(max_length=50)]
Day = Annotated[str, AfterValidator(_day)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DimensionBody(Body):
    values: list[Text] = []
    chars: Text = ""
    min: int = 1
    max: int = 50

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
    fiscal_year_start: Annotated[str, Field(pattern=r"^\d\d-\d\d$")] = "01-01"
    timezone: Annotated[str, Field(max_length=50)] = "UTC"
    date_order: Annotated[DateOrder, Field(strict=False)] = DateOrder.NONE
    start: int = 1
    max_value: int | None = None
    overflow: Annotated[Overflow, Field(strict=False)] = Overflow.ERROR
    reuse: Annotated[Reuse, Field(strict=False)] = Reuse.NEVER
    reservation_ttl_seconds: int | None = None
    reservation_max_lifetime_seconds: int = 86_400
    manual: bool = True
    warn_at_percent: Annotated[list[int], Field(max_length=10)] = [90, 95]
    description: Annotated[str, Field(max_length=1000)] = ""

    def definition(self) -> Definition:
        given: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        given["key"] = None if self.key is None else tuple(self.key)
        given["dimensions"] = {name: body.form() for name, body in self.dimensions.items()}
        given["attributes"] = {name: Attribute(body.form(), body.default) for name, body in self.attributes.items()}
        given["warn_at_percent"] = tuple(self.warn_at_percent)
        return Definition(**given)


class PreviewBody(Body):
    series: Text
    key: Fields = {}
    count: int = 1
    document_date: Day | None = None
    attributes: Fields = {}

    def reserve(self, token: str, default_ttl_seconds: int, ttl_seconds: int | None = None) -> Reserve:
        day = None if self.document_date is None else date.fromisoformat(self.document_date)
        return Reserve(self.series, token, self.key, self.count, ttl_seconds, default_ttl_seconds, day, self.attributes)


class ReserveBody(PreviewBody):
    ttl_seconds: int | None = None


class IssueBody(PreviewBody):
    document: Text


class ChoiceBody(Body):
    number: Text
    document: Text | None = None


def _choice(value: object) -> object:
    """A number alone stands for a choice without a document of its own."""
    return {"number": value} if isinstance(value, str) else value


class ConfirmBody(Body):
    document: Text | None = None
    numbers: Annotated[list[Annotated[ChoiceBody, BeforeValidator(_choice)]], Field(max_length=10_000)] | None = None
    release_rest: bool = True

    def choices(self) -> tuple[Choice, ...] | None:
        if self.numbers is None:
            return None
        return tuple(Choice(chosen.number, chosen.document) for chosen in self.numbers)


class ExtendBody(Body):
    ttl_seconds: int


def _reason(text: str) -> str:
    flaw = flaw_of_text(text, at_most=MAX_REASON_LENGTH)
    if flaw:
        raise ValueError(flaw)
    return text


class CancelBody(Body):
    reason: Annotated[str, AfterValidator(_reason)] | None = None


class ImportBody(Body):
    """`numbers` is the register's column as JSON; a CSV comes as it is."""

    series: list[Name]
    numbers: list[str] = []
    dry_run: bool = False
    skip_bad: bool = False


_NESTED: Mapping[str, type[Body]] = {
    "attributes": AttributeBody,
    "dimensions": DimensionBody,
    "numbers": ChoiceBody,
}

AnyBody = TypeVar("AnyBody", bound=Body)


def parse(model: type[AnyBody], body: bytes) -> AnyBody:
    """Read a body; a Rejection names every field that is wrong. An empty body stands for an empty object."""
    try:
        parsed = model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _rejection(model, error.errors(include_url=False, include_input=False)) from None
    # pydantic takes the last of two equal names; a proxy may take the first, and would see another request.
    json.loads(body or b"{}", object_pairs_hook=_refuse_repeated_names)
    return parsed


def checked(model: type[AnyBody], data: object) -> AnyBody:
    """Check what was read from elsewhere than JSON; a Rejection names every field that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _rejection(model, error.errors(include_url=False, include_input=False)) from None


def _refuse_repeated_names(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise Rejection(
            Code.MALFORMED_JSON, f"the body has the name {repeated[:50]!r} twice in one object; send it once"
        )


def _rejection(model: type[Body], found: list[ErrorDetails]) -> Rejection:
    first = found[0]
    if first["type"] == "json_invalid":
        return Rejection(Code.MALFORMED_JSON, f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    if not first["loc"]:
        return Rejection(Code.MALFORMED_JSON, "the body must be a JSON object")
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
    message = error["msg"].removeprefix("Value error, ")
    return message if message.startswith(("must", "is ")) else f"is wrong: {message}"


def _hint(model: type[Body], location: tuple[int | str, ...]) -> str:
    fields = _NESTED.get(str(location[0]), model).model_fields if len(location) > 1 else model.model_fields
    near = get_close_matches(str(location[-1]), fields, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(fields)}"

"""A series' definition as it is written, in the log and in answers, and back."""

from typing import Any

from ledger.domain.calendar import Reset
from ledger.domain.series import Attribute, DateOrder, Definition, Dimension, Overflow, Reuse

__all__ = ["definition_data", "definition_of"]

Data = dict[str, Any]


def definition_data(definition: Definition) -> Data:
    """Write a definition in the names of design.md 3.3, as it is served too; an unset option is left out."""
    data = {
        "template": definition.template,
        "key": definition.key,
        "dimensions": {name: _dimension_data(form) for name, form in definition.dimensions.items()},
        "attributes": {name: _attribute_data(attribute) for name, attribute in definition.attributes.items()},
        "reset": definition.reset.value,
        "fiscal_year_start": definition.fiscal_year_start,
        "timezone": definition.timezone,
        "date_order": definition.date_order.value,
        "start": definition.start,
        "max_value": definition.max_value,
        "overflow": definition.overflow.value,
        "reuse": definition.reuse.value,
        "reservation_ttl_seconds": definition.reservation_ttl_seconds,
        "reservation_max_lifetime_seconds": definition.reservation_max_lifetime_seconds,
        "manual": definition.manual,
        "warn_at_percent": definition.warn_at_percent,
        "description": definition.description,
    }
    return {name: value for name, value in data.items() if value is not None}


def definition_of(data: Data) -> Definition:
    """Read a stored definition back."""
    given = dict(data)
    given["key"] = tuple(data["key"])
    given["dimensions"] = {name: _dimension(form) for name, form in data["dimensions"].items()}
    given["attributes"] = {name: _attribute(form) for name, form in data["attributes"].items()}
    given["reset"] = Reset(data["reset"])
    given["date_order"] = DateOrder(data["date_order"])
    given["overflow"] = Overflow(data["overflow"])
    given["reuse"] = Reuse(data["reuse"])
    given["manual"] = bool(data["manual"])
    given["warn_at_percent"] = tuple(data["warn_at_percent"])
    return Definition(**given)


def _dimension_data(form: Dimension) -> Data:
    if form.values:
        return {"values": form.values}
    return {"chars": form.chars, "min": form.min, "max": form.max}


def _dimension(data: Data) -> Dimension:
    if "values" in data:
        return Dimension(values=tuple(data["values"]))
    return Dimension(chars=data["chars"], min=data["min"], max=data["max"])


def _attribute_data(attribute: Attribute) -> Data:
    data = _dimension_data(attribute.form)
    return data if attribute.default is None else data | {"default": attribute.default}


def _attribute(data: Data) -> Attribute:
    return Attribute(_dimension(data), data.get("default"))

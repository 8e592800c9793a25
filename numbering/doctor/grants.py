"""What an account of MariaDB may do, as SHOW GRANTS tells it, beside what the service needs.

The lines of SHOW GRANTS hold a hash of the password: they are read here and never shown.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from numbering.doctor.findings import Finding, error, ok, warning
from projections.schema import SLOTS

__all__ = ["FILE", "NEEDED", "Grant", "may", "parse", "privileges"]

FILE = "ops/mariadb-grants.sql"

# What the file grants; a test compares the two.
NEEDED = {
    "events": {"SELECT", "INSERT"},
    "ledger_head": {"SELECT", "UPDATE"},
    "stops": {"SELECT", "INSERT", "DELETE"},
    "snapshots": {"SELECT", "INSERT"},
    "alembic_version": {"SELECT"},
    "schema_version": {"SELECT"},
    "processes": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "projections": {"SELECT", "UPDATE"},
} | {table.name: {"SELECT", "INSERT", "UPDATE", "DELETE"} for slot in SLOTS.values() for table in slot.tables}

NAME = r"\*|`(?:[^`]|``)*`"
GRANT = re.compile(
    rf"GRANT (?P<privileges>.+?) ON (?P<kind>[A-Z ]+ )?(?P<database>{NAME})\.(?P<table>{NAME}) TO (?P<rest>.*)",
    re.DOTALL,
)
PROXY = re.compile(r"GRANT PROXY ON ")
COMMA = re.compile(r",\s*(?![^(]*\))")  # not between the columns of one privilege
GRANT_OPTION = "GRANT OPTION"
HARMLESS = {"USAGE"}


@dataclass(frozen=True)
class Grant:
    """`database` and `table` are names, or `*` for all; the database of a grant on all its tables is a pattern."""

    privileges: frozenset[str]
    database: str
    table: str
    kind: str = ""

    def covers(self, privilege: str, database: str, table: str) -> bool:
        return (
            not self.kind
            and bool(self.privileges & {privilege, "ALL PRIVILEGES"})
            and self.table in ("*", table)
            and self._is_about(database)
        )

    def beyond(self, database: str) -> Iterator[str]:
        """Name what the service does not need of this."""
        needed = NEEDED.get(self.table, set()) if self.database == database and not self.kind else set()
        more = sorted(one for one in self.privileges - HARMLESS if one.partition(" (")[0] not in needed)
        if more:
            yield f"{', '.join(more)} on {self.kind}{self.database}.{self.table}"

    def _is_about(self, database: str) -> bool:
        if self.database == "*" or self.table != "*":
            return self.database in ("*", database)
        return re.fullmatch(_pattern(self.database), database) is not None


def parse(lines: Iterable[str]) -> list[Grant]:
    """Read SHOW GRANTS. Roles say there themselves what they give, as long as they are set."""
    grants = []
    for line in lines:
        if found := GRANT.match(line):
            privileges = {one.strip() for one in COMMA.split(found["privileges"])}
            if "WITH GRANT OPTION" in found["rest"]:
                privileges.add(GRANT_OPTION)
            names = (_unquoted(found["database"]), _unquoted(found["table"]))
            grants.append(Grant(frozenset(privileges), *names, kind=found["kind"] or ""))
        elif PROXY.match(line):
            grants.append(Grant(frozenset({"PROXY"}), "*", "*"))
    return grants


def may(grants: Iterable[Grant], privilege: str, database: str, table: str) -> bool:
    return any(grant.covers(privilege, database, table) for grant in grants)


def privileges(check: str, grants: Sequence[Grant], database: str) -> list[Finding]:
    findings = []
    if missing := list(_missing(grants, database)):
        advice = f"run {FILE} as an administrator, after `numbering migrate`"
        findings.append(error(check, f"the account lacks {'; '.join(missing)}", advice))
    if more := [one for grant in grants for one in grant.beyond(database)]:
        advice = f"revoke it, or serve with an account that has only what {FILE} grants"
        findings.append(warning(check, f"the account may do more than the service needs: {'; '.join(more)}", advice))
    return findings or [ok(check, f"as {FILE} grants them, and no more")]


def _missing(grants: Sequence[Grant], database: str) -> Iterator[str]:
    for table, needed in NEEDED.items():
        lacking = [one for one in sorted(needed) if not may(grants, one, database, table)]
        if lacking:
            yield f"{', '.join(lacking)} on {database}.{table}"


def _unquoted(name: str) -> str:
    return name if name == "*" else name[1:-1].replace("``", "`")


def _pattern(text: str) -> str:
    r"""Translate a LIKE pattern, in which `\` takes the meaning from `_` and `%`."""
    meanings = {"_": ".", "%": ".*"}
    parts = re.findall(r"\\?.", text, re.DOTALL)
    return "".join(meanings.get(part) or re.escape(part[-1]) for part in parts)

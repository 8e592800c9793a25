"""The whole examination, in the order of its lines."""

from functools import partial

from ledger.stores import parse_url
from numbering.doctor import archive, machine, mariadb, mirror, redis, sqlite
from numbering.doctor.findings import Check, Finding, guarded
from numbering.settings import Settings

__all__ = ["examine"]

TOTAL_SECONDS = 120.0  # far more than the checks' own bounds add up to


async def examine(settings: Settings) -> list[Finding]:
    url = parse_url(settings.database_url)
    database = sqlite if url.get_backend_name() == "sqlite" else mariadb
    findings: list[Finding] = []
    for subject in (
        Check("machine", machine.examine),
        Check("database", partial(database.examine, url, tolerance_seconds=settings.clock_tolerance)),
        Check("redis", partial(redis.examine, settings.redis_url)),
        Check("mirror", partial(mirror.examine, settings)),
        Check("archive", partial(archive.examine, settings)),
    ):
        found, _ = await guarded(subject, seconds=TOTAL_SECONDS)
        findings += found
    return findings

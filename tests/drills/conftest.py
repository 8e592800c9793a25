"""Disasters on real servers, of which the drills do what they like; each has a database and a Redis of its own."""

from collections.abc import Iterator

import pytest

from tests.servers import MariaDB, Redis


@pytest.fixture(scope="package")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server

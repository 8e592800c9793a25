"""Disasters on real servers; each drill has a database and a Redis of its own, and a server too if it kills that."""

from collections.abc import Iterator

import pytest

from tests.servers import MariaDB, Redis


@pytest.fixture
def own_mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server

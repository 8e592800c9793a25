"""The build of before and this one serve one ledger at once, under load, there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import orjson
import pytest

from tests.fire.audit import check
from tests.fire.earlier import BEFORE_FORMATS, Earlier, ServiceOfEarlier
from tests.fire.load import SERIES, Load
from tests.fire.place import Place
from tests.fire.service import Service

Begin = Callable[[], Service]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    return Earlier(BEFORE_FORMATS, tmp_path_factory.mktemp("earlier"))


class Fleet:
    """The services of one ledger, of two builds, and the clients that use whichever serve now."""

    def __init__(self, url: str, build: Earlier, stack: ExitStack) -> None:
        self.url = url
        self.build = build
        self.load = Load([], clients=8)
        self._stack = stack

    def old(self) -> Service:
        return self._begun(ServiceOfEarlier(self.build, self.url))

    def new(self) -> Service:
        return self._begun(Service(self.url))

    def replace(self, service: Service, begin: Begin) -> Service:
        """End a service as an upgrade does, begin another, and wait until the clients used it."""
        self.load.urls.remove(service.url)
        assert service.end() == 0
        begun = begin()
        self.load.progress(40)
        return begun

    def define(self, service: Service) -> None:
        for code, series in SERIES.items():
            assert service.ask("PUT", f"/v1/series/{code}", orjson.dumps(series))[0] in (200, 201)

    def _begun(self, service: Service) -> Service:
        self._stack.enter_context(service)
        self.load.urls.append(service.url)
        return service


@pytest.fixture
def fleet(place: Place, earlier: Earlier) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(place.url, earlier, stack)


def test_there_and_back(fleet: Fleet) -> None:
    one, two = fleet.old(), fleet.old()
    fleet.define(one)
    with fleet.load as load:
        load.progress()
        one = fleet.replace(one, fleet.new)  # both kinds write at once
        two = fleet.replace(two, fleet.new)
        one = fleet.replace(one, fleet.old)
        two = fleet.replace(two, fleet.old)
        load.progress()
        load.end()
    check(fleet.url, load)

"""Limits per machine, without a server."""

from __future__ import annotations

import logging

import pytest
from aiohttp.http_exceptions import BadStatusLine

from stoneware.platforms.local.metadata.visits import BURST, CONNECTIONS, RATE, Accounts, RareMessages

pytestmark = pytest.mark.pure


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_connections_are_counted_for_each_machine() -> None:
    accounts = Accounts(Clock())
    assert [accounts.enter("a") for _ in range(CONNECTIONS + 1)] == [True] * CONNECTIONS + [False]
    assert accounts.enter("b")
    accounts.leave("a")
    assert accounts.enter("a")
    assert not accounts.enter("a")


def test_work_comes_back_with_time_and_a_debt_is_bounded() -> None:
    clock = Clock()
    accounts = Accounts(clock)
    assert accounts.charge("a", BURST)
    assert not accounts.charge("a", 1)
    assert accounts.charge("b", 1)
    clock.now += 2.5 / RATE
    assert accounts.charge("a", 1)
    accounts.charge("a", 1e9)
    clock.now += BURST / RATE
    assert not accounts.charge("a", 1)
    clock.now += 2.5 / RATE
    assert accounts.charge("a", 1)


def test_who_owes_nothing_is_forgotten_when_there_are_many() -> None:
    clock = Clock()
    accounts = Accounts(clock)
    accounts.enter("stays")
    for number in range(5000):
        clock.now += 0.01
        accounts.charge(str(number), 1)
    assert len(accounts._accounts) < 4200
    assert accounts._accounts["stays"].connections == 1


def test_clients_do_not_fill_the_log() -> None:
    clock = Clock()
    seldom = RareMessages(clock)

    def logged(error: Exception) -> bool:
        exc_info = (type(error), error, None)
        return seldom.filter(logging.LogRecord("x", logging.ERROR, "", 0, "", (), exc_info))

    assert not logged(BadStatusLine("x"))
    assert [logged(OSError()) for _ in range(30)].count(True) == 10
    clock.now += 61
    assert logged(OSError())

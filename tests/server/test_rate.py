"""How many requests a client may send: a property over random times, and its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.http.rate import Rate
from prefect_ml.http.refusal import RefusedError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(rate: Rate, client: str) -> bool:
    try:
        rate.take(client)
    except RefusedError:
        return False
    return True


@given(st.floats(0.1, 50), st.lists(st.floats(0, 3), max_size=200))
def test_no_client_sends_more_than_its_share_and_a_moment_at_once(per_second, pauses):
    clock = Clock()
    rate, sent = Rate(per_second, clock=clock), 0
    for pause in pauses:
        clock.now += pause
        sent += taken(rate, "10.0.0.1")
        assert sent <= max(1.0, 2 * per_second) + per_second * clock.now + 1e-6


@given(st.floats(0.1, 50), st.integers(1, 200))
def test_whoever_waits_as_long_as_told_is_served(per_second, burst):
    clock = Clock()
    rate = Rate(per_second, clock=clock)
    for _ in range(burst):
        try:
            rate.take("10.0.0.1")
        except RefusedError as refused:
            clock.now += int(refused.headers["Retry-After"])
            rate.take("10.0.0.1")


def test_each_client_has_its_own_share():
    clock = Clock()
    rate = Rate(1, clock=clock)
    assert [taken(rate, "10.0.0.1") for _ in range(3)] == [True, True, False]
    assert taken(rate, "10.0.0.2")
    clock.now += 1
    assert [taken(rate, "10.0.0.1") for _ in range(2)] == [True, False]


def test_the_addresses_of_one_ipv6_network_share_and_a_mapped_ipv4_is_itself():
    rate = Rate(1, clock=Clock())
    assert [taken(rate, f"2001:db8::{part}") for part in "123"] == [True, True, False]
    assert taken(rate, "2001:db8:0:1::1")
    assert [taken(rate, address) for address in ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1")] == [True, True, False]


def test_the_memory_of_clients_is_bounded():
    rate = Rate(1, clock=Clock(), clients=100)
    for number in range(1000):
        assert taken(rate, f"10.0.{number // 250}.{number % 250}")
    assert len(rate._buckets) == 100


def test_a_client_without_an_address_is_one_too():
    rate = Rate(0.5, clock=Clock())
    rate.take("")
    with pytest.raises(RefusedError, match=r"takes 0\.5 requests a second") as refused:
        rate.take("")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "2"})

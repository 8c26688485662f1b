"""Many people, one order, the same instant: on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from notifier.core.ids import OutletCode, RecipientId
from notifier.core.model import Contact, Recipient
from notifier.testing import ACME
from tests.web.conftest import MakeSite
from tests.web.site import Site, Told, fields_of, to

PEOPLE = 50


@pytest.fixture(params=["sqlite", "postgresql"])
def racing(request: pytest.FixtureRequest, make_site: MakeSite) -> Iterator[Site]:
    """A site on each database."""
    if request.param == "sqlite":
        yield make_site()
        return
    site = Site(request.getfixturevalue("postgres_url"))
    yield site
    site.system.store.close()


def at_once(site: Site, posts: list[tuple[str, dict[str, str]]]) -> list[Any]:
    """Send forms at the same instant, each by a thread and client of its own."""
    ready = Barrier(len(posts))

    def send(path: str, fields: dict[str, str]) -> Any:
        client = site.client()
        ready.wait()
        return client.post(path, data=fields)

    with ThreadPoolExecutor(len(posts)) as threads:
        return list(threads.map(lambda post: send(*post), posts))


def test_fifty_people_decide_at_once_one_decision_and_everybody_is_told_who_p6(racing: Site) -> None:
    with racing.system.store.write() as tx:
        tx.save_contacts(
            [
                Contact(
                    Recipient(RecipientId(""), ACME, f"Rep{n}", f"rep{n}@acme.example"),
                    OutletCode("ES-1001"),
                    "sales_rep",
                )
                for n in range(PEOPLE)
            ]
        )
    told = [one for one in racing.order() if one.number and one.who.startswith("rep")]
    assert len({one.who for one in told}) == PEOPLE
    actions = ["accept", "cancel"]
    posts = [
        (one.path, fields_of(racing.http.get(one.path).text) | {"number": one.number, "action": actions[n % 2]})
        for n, one in enumerate(told)
    ]
    answers = at_once(racing, posts)
    assert sorted(answer.status_code for answer in answers) == [303] + [409] * (PEOPLE - 1)
    (decision,) = racing.rows("decisions")
    winner = told[[answer.status_code for answer in answers].index(303)]
    assert decision["decided_by"].lower() == winner.who.partition("@")[0]
    for answer in answers:
        if answer.status_code == 409:
            assert f"by {decision['decided_by']} (from the link in an email)" in answer.text
    assert len([row for row in racing.rows("events") if row["type"] == "coolr.decision.recorded"]) == 1
    assert racing.rows("orders")[0]["version"] == 2


def test_ninety_numbers_at_once_two_are_judged(racing: Site) -> None:
    alice: Told = to(racing.order(), "alice")
    fields = fields_of(racing.http.get(alice.path).text)
    numbers = [str(number) for number in range(10, 100) if str(number) != alice.number]
    posts = [
        (alice.path, fields | {"number": number, "action": "accept", "nonce": f"form-{number}-{number}"})
        for number in [*numbers, *numbers[:1]]
    ]
    answers = at_once(racing, posts)
    codes = [answer.status_code for answer in answers]
    # Only the first can be told to try again, and not even it when the second was judged before its page was made.
    assert set(codes) <= {422, 409}
    assert codes.count(422) <= 1
    assert [
        row["wrong"]
        for row in racing.rows("order_numbers")
        if row["recipient_key"] == racing.rows("audit")[0]["actor"].removeprefix("link:")
    ] == [2]
    assert [row["action"] for row in racing.rows("audit")] == ["link.wrong_number"] * 2
    assert racing.http.post(alice.path, data=fields | {"number": alice.number, "action": "accept"}).status_code == 409
    assert racing.rows("decisions") == []

"""The read API: one tenant's own, addresses masked, every mistake named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier.core.ids import TenantId
from notifier.core.keys import make_api_key
from notifier.core.records import ApiKey
from notifier.testing import ACME, BOREALIS
from tests.web.site import Site, answer, to

LISTED = ["events", "notifications", "attempts", "orders", "decisions", "outlets", "quarantine"]


def key_of(site: Site, tenant: TenantId, *, may_read: bool = True, disabled: bool = False) -> dict[str, str]:
    made = make_api_key()
    row = ApiKey(
        made.id,
        tenant,
        "test",
        made.secret_hash,
        ("*",),
        ("*",),
        False,
        may_read,
        site.clock(),
        site.clock() if disabled else None,
    )
    with site.system.store.write() as tx:
        tx.save_api_key(row)
    return {"authorization": f"Bearer {made.plaintext}"}


@pytest.fixture
def filled(site: Site) -> Site:
    """Orders with a decision."""
    told = site.order()
    site.order(number=1043)
    answer(site, to(told, "alice"), "accept")
    site.accept()
    return site


@pytest.mark.parametrize("listed", LISTED)
def test_a_tenant_sees_its_own_and_the_other_nothing_of_it_p11(filled: Site, listed: str) -> None:
    ours = filled.http.get(f"/v1/{listed}", headers=key_of(filled, ACME)).json()
    theirs = filled.http.get(f"/v1/{listed}", headers=key_of(filled, BOREALIS)).json()
    assert ours["totalRecords"] == len(ours["records"])
    assert (listed == "quarantine") == (ours["totalRecords"] == 0)
    assert theirs["totalRecords"] == (1 if listed == "outlets" else 0)


def test_nothing_that_is_read_holds_a_full_address_or_opens_a_link_p10(filled: Site) -> None:
    headers = key_of(filled, ACME)
    seen = "".join(filled.http.get(f"/v1/{listed}", headers=headers).text for listed in LISTED)
    for event in filled.http.get("/v1/events", headers=headers).json()["records"]:
        seen += filled.http.get(f"/v1/events/{event['id']}/timeline", headers=headers).text
    assert "alice@" not in seen and "600111222" not in seen
    assert "/l/" not in seen and "/s/" not in seen
    assert "@acme.example" in seen, "masked, so that people can be told apart"


def test_paging_counts_all_and_returns_a_slice_newest_first(filled: Site) -> None:
    headers = key_of(filled, ACME)
    whole = filled.http.get("/v1/notifications", headers=headers).json()
    page = filled.http.get("/v1/notifications?start=2&limit=3", headers=headers).json()
    assert page["totalRecords"] == whole["totalRecords"]
    assert page["records"] == whole["records"][2:5]


def test_filters_narrow(filled: Site) -> None:
    headers = key_of(filled, ACME)

    def total(filters: Any) -> int:
        answered = filled.http.get("/v1/orders", params={"filters": json.dumps(filters)}, headers=headers)
        assert answered.status_code == 200, answered.text
        return int(answered.json()["totalRecords"])

    assert total({"status": {"operator": "=", "value": "accepted"}}) == 1
    assert total({"status": {"operator": "!=", "value": "accepted"}}) == 1
    assert total({"number": {"operator": "in", "value": ["1042", "1043", "9"]}}) == 2
    assert total({"created_at": {"operator": ">", "value": "2030-01-01T00:00:00Z"}}) == 0


@pytest.mark.parametrize(
    "filters",
    [
        "{",
        "[]",
        "[" * 1500,
        '{"status": NaN}',
        '{"address": "a"}',  # cannot be asked for, or masking would be a guessing game
        '{"tenant": "borealis"}',
        '{"nothing": 1}',
        '{"status": {"operator": "like", "value": "%"}}',
        '{"created_at": "yesterday"}',
        '{"created_at": "2026-11-23T10:00:00"}',
        '{"status": {"a": 1}}',
        '{"decided_elsewhere": {"operator": "<", "value": true}}',  # no database orders these alike
        '{"version": 99999999999999999999999999}',
        '{"status": "\\u0000"}',
    ],
)
def test_a_filter_that_cannot_be_is_refused_with_the_reason(site: Site, filters: str) -> None:
    refused = site.http.get("/v1/orders", params={"filters": filters}, headers=key_of(site, ACME))
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("filters: ")


@pytest.mark.parametrize(
    "query", ["start=-1", "limit=0", "limit=101", "limit=x", "start=99999999999999999999", "filters=" + "x" * 2001]
)
def test_a_page_that_cannot_be_is_refused_with_the_field(site: Site, query: str) -> None:
    refused = site.http.get(f"/v1/orders?{query}", headers=key_of(site, ACME))
    assert refused.status_code == 422 and refused.json()["field"] == f"query.{query.partition('=')[0]}"


def test_missing_and_foreign_events_answer_alike_p11(filled: Site) -> None:
    ours = filled.http.get("/v1/events", headers=key_of(filled, ACME)).json()["records"][0]["id"]
    other = key_of(filled, BOREALIS)
    wanted = [ours, "01935850-0000-7000-8000-000000000000", "x", "%00"]
    answers = [filled.http.get(f"/v1/events/{id_}/timeline", headers=other) for id_ in wanted]
    assert {(one.status_code, one.content) for one in answers} == {(404, answers[0].content)}


def test_keys_that_do_not_count_answer_alike(site: Site) -> None:
    good = key_of(site, ACME)
    disabled = key_of(site, ACME, disabled=True)
    word = good["authorization"].removeprefix("Bearer ")
    wrong = [
        {},
        {"authorization": "Bearer x"},
        {"authorization": f"Basic {word}"},
        disabled,
        {"x-api-key": word[:-1] + "!"},
    ]
    wrong.append({"authorization": f"Bearer {make_api_key().plaintext}"})
    answers = [site.http.get("/v1/orders", headers=headers) for headers in wrong]
    assert {(one.status_code, one.content) for one in answers} == {(401, answers[0].content)}
    assert site.http.get("/v1/orders", headers={"x-api-key": word}).status_code == 200


def test_a_key_that_may_not_read_is_told_so(site: Site) -> None:
    refused = site.http.get("/v1/orders", headers=key_of(site, ACME, may_read=False))
    assert refused.status_code == 403 and "--read" in refused.json()["detail"]

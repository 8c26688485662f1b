"""Rate limits by themselves: the bucket against its promise, shares that add up, and which lanes share a limit."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.ids import EndpointName, SessionId, TenantId
from notifier.core.limits import (
    AccountRates,
    Allowances,
    Asking,
    Bucket,
    Demand,
    Limit,
    LimitKey,
    Limits,
    Share,
    limits_in,
    limits_of,
    local_share,
    within,
)
from notifier.core.model import ChannelName
from notifier.core.policy import Endpoint, Policy, TenantPolicy
from notifier.testing import ACME, BOREALIS, NOW

EMAIL, SMS, CALLBACK = ChannelName.EMAIL, ChannelName.SMS, ChannelName.CALLBACK
RATES = st.sampled_from([0.01, 0.5, 1.0, 1.5, 3.0, 10.0, 250.0])
STEPS = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 400)), max_size=40)


def most_in_any_window(given_at: list[tuple[float, int]], rate: float, burst: float) -> float:
    """By how much the worst window is over rate x t + burst; 0 or less is right."""
    return max(
        (
            sum(tokens for at, tokens in given_at[first : last + 1])
            - rate * (given_at[last][0] - given_at[first][0])
            - burst
            for first in range(len(given_at))
            for last in range(first, len(given_at))
        ),
        default=0.0,
    )


@given(RATES, STEPS)
def test_a_bucket_never_gives_more_than_its_rate_and_burst_in_any_window(
    rate: float, steps: list[tuple[float, int]]
) -> None:
    limit, now = Limit(LimitKey("email"), rate, EMAIL), 0.0
    bucket, given_at = Bucket(rate, limit.burst, now), []
    for passed, wanted in steps:
        now += passed
        given_at.append((now, bucket.take(wanted, now).tokens))
    assert most_in_any_window(given_at, rate, limit.burst) <= 1e-6
    assert sum(tokens for _, tokens in given_at) <= rate * now + 1e-6  # it began empty


@given(RATES, STEPS)
def test_whoever_waits_as_long_as_told_gets_a_token_and_nobody_gets_one_much_earlier(
    rate: float, steps: list[tuple[float, int]]
) -> None:
    bucket, now = Bucket(rate, max(1.0, rate), 0.0), 0.0
    for passed, wanted in steps:
        now += passed
        grant = bucket.take(wanted, now)
        assert (grant.wait == 0.0) == (grant.tokens == wanted)
        if grant.wait:
            early, due = replace(bucket), replace(bucket)
            assert early.take(1, now + grant.wait * 0.99).tokens == 0
            assert due.take(1, now + grant.wait + 1e-6).tokens == 1


@given(RATES)
def test_a_bucket_that_is_always_emptied_keeps_its_rate(rate: float) -> None:
    """Not only never more: nothing is lost either."""
    bucket, now, given_in_all = Bucket(rate, max(1.0, rate), 0.0), 0.0, 0
    while now < 100 / rate:
        grant = bucket.take(1000, now)
        given_in_all += grant.tokens
        now += max(grant.wait, 0.05) + 1e-6 if rate < 20 else 0.05
    assert given_in_all >= 98


@given(RATES, st.integers(1, 40))
def test_the_shares_of_all_sessions_make_up_the_limit_and_no_more(rate: float, sessions: int) -> None:
    limit = Limit(LimitKey("email"), rate, EMAIL)
    shares = [local_share(limit, Share(place, sessions)) for place in range(sessions)]
    taking_part = [share for share in shares if share is not None]
    assert sum(share[0] for share in taking_part) == pytest.approx(rate)
    assert sum(share[1] for share in taking_part) == pytest.approx(limit.burst)
    assert all(burst >= 1 for _, burst in taking_part)  # less would never give a token
    assert len(taking_part) == min(sessions, math.floor(limit.burst))


def test_another_number_of_sessions_leaves_what_fits_in_the_smaller_bucket() -> None:
    bucket = Bucket(10.0, 10.0, 0.0)
    bucket.resize(5.0, 5.0, 2.0)
    assert bucket.take(10, 2.0).tokens == 5
    bucket.resize(10.0, 10.0, 2.0)
    assert bucket.take(10, 2.0).tokens == 0


# -- which lanes -------------------------------------------------------------------------------------------------------


def policy(**tenants: TenantPolicy) -> Policy:
    return Policy(1, {tenant.id: tenant for tenant in tenants.values()})


def endpoint(name: str, rate: float = 0.0) -> Endpoint:
    return Endpoint(EndpointName(name), "https://a.example", ("env:S",), rate=rate)


def test_without_a_rate_there_is_no_limit() -> None:
    assert not limits_in(policy(acme=TenantPolicy(ACME, "Acme", endpoints=(endpoint("erp"),))), AccountRates())


def test_all_mail_shares_the_account_and_each_sms_sender_has_its_own() -> None:
    chile, peru = TenantId("chile"), TenantId("peru")
    found = limits_in(
        policy(
            acme=TenantPolicy(ACME, "Acme", email_from="a@acme.example", sms_from="+15005550006"),
            borealis=TenantPolicy(BOREALIS, "Borealis", sms_from="+34600000001"),
            chile=TenantPolicy(chile, "Chile", sms_from="+34600000001"),
            peru=TenantPolicy(peru, "Peru", sms_from="Peru"),
        ),
        AccountRates(email=14, sms=1, sms_from="+15005550006"),
    )
    assert {found.of_lane(tenant, EMAIL, "email") for tenant in (ACME, BOREALIS, chile)} == {"email"}
    of = {tenant: found.of_lane(tenant, SMS, "sms") for tenant in (ACME, BOREALIS, chile, peru)}
    assert of[ACME] == "sms"  # names the deployment's sender itself
    assert of[BOREALIS] == of[chile] not in ("sms", None)
    assert of[peru] not in ("sms", of[chile], None)
    assert not any("600000001" in key for key in found.by_key)
    assert [limit.rate for limit in found] == [14, 1, 1, 1]


def test_an_endpoints_rate_is_that_of_its_tenant_alone() -> None:
    slow = endpoint("erp", rate=0.5)
    found = limits_in(
        policy(
            acme=TenantPolicy(ACME, "Acme", endpoints=(slow, endpoint("crm"))),
            borealis=TenantPolicy(BOREALIS, "Borealis", endpoints=(endpoint("erp"),)),
        ),
        AccountRates(),
    )
    assert found.of_lane(ACME, CALLBACK, "erp") == "endpoint/acme/erp"
    assert found.of_lane(ACME, CALLBACK, "crm") is None
    assert found.of_lane(BOREALIS, CALLBACK, "erp") is None
    assert found.of_lane(ACME, EMAIL, "erp") is None


# -- tokens of a claim -----------------------------------------------------------------------------------------------


def asking(tenant: TenantId, rows: int, waited: int = 0, rank: int = 1, channel: ChannelName = EMAIL) -> Asking:
    """A lane that had its last turn so many minutes before now."""
    return Asking(tenant, channel, channel.value, rank, NOW - timedelta(minutes=waited), rows)


def test_a_claim_takes_from_all_lanes_of_a_limit_no_more_than_its_tokens() -> None:
    limits = limits_of([Limit(LimitKey("email"), 5.0, EMAIL)])
    lanes = [asking(ACME, 5), asking(ACME, 5, rank=2), asking(BOREALIS, 1), asking(ACME, 50, channel=CALLBACK)]
    assert within(Allowances(limits, {LimitKey("email"): 5}), lanes) == [2, 2, 1, 50]
    assert within(Allowances(limits, {}), lanes) == [0, 0, 0, 50]
    assert within(Allowances(limits, {LimitKey("email"): 100}), lanes) == [5, 5, 1, 50]


def test_the_single_token_goes_to_who_waited_longest_for_this_limit_the_urgent_first() -> None:
    limits = limits_of([Limit(LimitKey("email"), 1.0, EMAIL)])
    one = Allowances(limits, {LimitKey("email"): 1})
    assert within(one, [asking(ACME, 5, waited=1), asking(BOREALIS, 5, waited=2)]) == [0, 1]
    assert within(one, [asking(ACME, 5, waited=9), asking(ACME, 5, rank=0), asking(BOREALIS, 5, waited=2)]) == [0, 0, 1]
    assert within(one, [asking(ACME, 5, waited=9), asking(ACME, 5, waited=3, rank=0)]) == [0, 1]


def test_a_limit_without_tokens_is_exhausted() -> None:
    mail, texts = Limit(LimitKey("email"), 5.0, EMAIL), Limit(LimitKey("sms"), 1.0, SMS)
    assert Allowances(limits_of([mail, texts]), {mail.key: 1}).exhausted() == [texts]
    assert Allowances(Limits(), {}).exhausted() == []


def test_a_session_that_is_not_known_yet_is_the_last_of_all() -> None:
    old, young = SessionId("1"), SessionId("2")
    demand = Demand({}, (old, young))
    assert demand.share_of(old) == Share(0, 2)
    assert demand.share_of(SessionId("3")) == Share(2, 3)
    assert Demand().share_of(old) == Share(0, 1)

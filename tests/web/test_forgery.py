"""P7: what does not verify gets one and the same answer, bytes included, whether it existed or not."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest

from notifier.core.links import LinkPurpose, LinkSigner
from notifier.core.model import ChannelName, EventType
from notifier.errors import LinkInvalid
from notifier.testing import BOREALIS, LINK_KEYS
from tests.web.site import Site, Told, answer, event, fields_of, to

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def alice(site: Site) -> Told:
    """Alice's mail about order 1042."""
    return to(site.order(), "alice")


def token_of(told: Told) -> str:
    return told.path.removeprefix("/l/")


def test_every_character_of_a_token_counts(site: Site, alice: Told) -> None:
    """Each character changed to each of its neighbours in value: base64 would let some of them pass."""
    token = token_of(alice)
    signer = LinkSigner(LINK_KEYS)
    assert signer.verify(token).purpose is LinkPurpose.ORDER
    for position, char in enumerate(token):
        at = ALPHABET.find(char)
        others = [ALPHABET[at ^ bit] for bit in (1, 2, 4, 8)] if at >= 0 else ["."]
        for other in [*others, "é", "~" if char != "~" else "-"]:
            with pytest.raises(LinkInvalid):
                signer.verify(token[:position] + other + token[position + 1 :])


def test_unknown_damaged_and_foreign_links_get_the_same_status_and_bytes_p7(site: Site, alice: Told) -> None:
    told = site.order(number=1043, image={"url": "https://img.acme.example/a.jpg"})
    token, other = token_of(alice), to(told, "alice")
    image = other.urls["image"].rpartition("/")[2]
    signer, later = LinkSigner(LINK_KEYS), site.clock() + timedelta(days=1)
    never = "01935851-0000-7000-8000-00000000dead"
    payload, _, signature = token.partition("~")
    stranger = LinkSigner([b"s" * 32])
    packed = json.dumps([1, 2]).encode()
    paths = {
        "not a token": "/l/x",
        "nothing": "/l/",
        "signed by somebody else": f"/l/{stranger.token(LinkPurpose.ORDER, never, later)}",  # type: ignore[arg-type]
        "signed by us, no such link": f"/l/{signer.token(LinkPurpose.ORDER, never, later)}",  # type: ignore[arg-type]
        "of another purpose": f"/l/{signer.token(LinkPurpose.IMAGE, signer.verify(token).link_id, later)}",
        "parts of two tokens": f"/l/{payload}~{image.partition('~')[2]}",
        "the parts turned": f"/l/{signature}~{payload}",
        "cut": f"/l/{token[:-1]}",
        "longer": f"/l/{token}A",
        "padded": f"/l/{token}=",
        "a space behind": f"/l/{token}%20",
        "dots for the separator": f"/l/{token.replace('~', '.')}",
        "an unsigned payload": f"/l/{base64.urlsafe_b64encode(packed).decode()}",
        "a path below": f"/l/{token}/more",
        "a slash behind": f"/l/{token}/",
        "very long": "/l/" + "A" * 5000,
        "NUL": "/l/%00",
        "not UTF-8": "/l/%ff%fe",
        "a code that never was": "/s/" + "0" * 16,
        "no code": "/s/x",
        "a token as a code": f"/s/{token}",
    }
    answers = {name: site.http.get(path) for name, path in paths.items()}
    answers |= {f"{name}, by form": site.http.post(path, data={"action": "accept"}) for name, path in paths.items()}
    answers["another host"] = site.http.get(alice.path, headers={"host": "links.borealis.example"})
    answers["a poisoned host"] = site.http.get(alice.path, headers={"host": "evil.example"})
    answers["a port"] = site.http.get(alice.path, headers={"host": "notify.example:8443"})
    site.clock.advance(days=60)
    answers["expired, at another host"] = site.http.get(alice.path, headers={"host": "links.borealis.example"})
    answers["expired code, at another host"] = site.http.get(
        to(told, "+34", ChannelName.SMS).path, headers={"host": "links.borealis.example"}
    )
    first = answers["not a token"]
    headers = dict(first.headers)
    assert first.status_code == 404
    for name, answered in answers.items():
        assert (answered.status_code, answered.content, dict(answered.headers)) == (404, first.content, headers), name
    assert site.rows("decisions") == []


def test_a_link_opens_at_its_tenants_address_alone(site: Site) -> None:
    data = {"order_number": "7", "lines": [{"sku": "1", "name": "Tea", "suggested_cases": 3}]}
    assert site.accept(event(EventType.ORDER_RECOMMENDED, data, "b-1"), tenant=BOREALIS) == ["accepted"]
    dora = to(site.told(), "dora")
    assert dora.urls["order"].startswith("https://links.borealis.example/l/")
    assert site.http.get(dora.path).status_code == 404
    theirs = site.client("https://links.borealis.example")
    page = theirs.get(dora.path)
    assert page.status_code == 200 and "Borealis Foods" in page.text
    fields = fields_of(page.text) | {"number": dora.number, "action": "accept"}
    assert site.http.post(dora.path, data=fields).status_code == 404
    assert theirs.post(dora.path, data=fields, headers={"origin": "https://notify.example"}).status_code == 403
    assert theirs.post(dora.path, data=fields, headers={"origin": "https://links.borealis.example"}).status_code == 303


def test_another_persons_number_does_not_fit(site: Site) -> None:
    told = site.order()
    alice, bob = to(told, "alice"), to(told, "bob")
    number = bob.number if bob.number != alice.number else "10"
    assert answer(site, alice, "accept", number).status_code == 422


@pytest.mark.parametrize(
    "altered",
    [
        {"version": "0"},
        {"version": "2"},
        {"version": "-1"},
        {"version": ""},
        {"nonce": ""},
        {"nonce": "short"},
        {"nonce": "x" * 65},
        {"nonce": "a space in it"},
        {"action": "ACCEPT"},
        {"action": "undo"},
        {"action": ""},
    ],
)
def test_altered_hidden_fields_decide_nothing(site: Site, alice: Told, altered: dict[str, str]) -> None:
    fields = fields_of(site.http.get(alice.path).text) | {"number": alice.number, "action": "accept"} | altered
    assert site.http.post(alice.path, data=fields).status_code == 422
    assert site.rows("decisions") == []


@pytest.mark.parametrize(
    "altered",
    [
        {"version": "1"},  # of the order before it was decided
        {"version": "3"},
        {"version": ""},
        {"nonce": ""},
        {"nonce": "short"},
        {"number": ""},
        {"action": "UNDO"},
        {"action": "undo "},
        {"action": ""},
    ],
)
def test_altered_fields_take_nothing_back(site: Site, alice: Told, altered: dict[str, str]) -> None:
    answer(site, alice, "accept")
    fields = fields_of(site.http.get(alice.path).text) | {"number": alice.number, "action": "undo"} | altered
    before = site.dump()
    assert site.http.post(alice.path, data=fields).status_code in (409, 422)
    assert site.dump() == before


def test_another_link_or_number_takes_nothing_back(site: Site, alice: Told) -> None:
    bob, other = to(site.order(number=1043), "bob"), to(site.order(number=1044), "alice")
    answer(site, alice, "accept")
    fields = fields_of(site.http.get(alice.path).text) | {"number": alice.number, "action": "undo"}
    for path in (bob.path, other.path):
        assert site.http.post(path, data=fields).status_code == 422
    assert [row["undone_at"] for row in site.rows("decisions")] == [None]


def test_quantities_of_products_that_are_not_in_the_order_are_not_ordered(site: Site, alice: Told) -> None:
    assert answer(site, alice, "accept", **{"cases.evil": "9000", "cases.0": "1"}).status_code == 303
    assert json.loads(site.rows("decisions")[0]["quantities"]).keys() == {"5449000131805", "8411547001085"}


def test_a_link_to_a_picture_or_another_order_cannot_decide(site: Site, alice: Told) -> None:
    told = site.order(number=1043, image={"url": "https://img.acme.example/a.jpg"})
    other = to(told, "alice")
    fields = fields_of(site.http.get(alice.path).text) | {"number": alice.number, "action": "accept"}
    image = "/" + other.urls["image"].split("/", 3)[3]
    assert site.http.post(image, data=fields).status_code == 200  # shows the picture's page
    assert alice.number != other.number, "one person's open orders have different numbers"
    assert site.http.post(other.path, data=fields).status_code == 422
    assert site.rows("decisions") == []

"""Bad input against a real web process: refused or kept with the field and the reason, nothing lost, nothing leaked."""

from __future__ import annotations

import base64
import concurrent.futures
import gzip
import http.client
import json
import re
import sqlite3
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from notifier.core.ids import TenantId
from notifier.core.keys import make_api_key
from notifier.core.records import ApiKey
from notifier.store import open_store
from notifier.store.migrating import migrate
from tests.peers.process import find_free_port, running

pytestmark = pytest.mark.processes

BATCH, ONE, JSON = "application/cloudevents-batch+json", "application/cloudevents+json", "application/json"
POLICY = '[tenants.acme]\nname = "Acme"\ntimezone = "Europe/Madrid"\n[tenants.zeta]\nname = "Zeta"\n'
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
GROWTH = 120_000  #: kilobytes a bomb may make the process grow: one body and one decompressed body, with room


@dataclass
class Site:
    """The running process, its store and its keys."""

    port: int
    pid: int
    database: Path
    log: Path
    keys: dict[str, str]

    def post(self, body: bytes | Any, key: str = "acme", headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Send a body and return the status and the decoded answer."""
        raw = body if isinstance(body, bytes) or hasattr(body, "__next__") else json.dumps(body).encode()
        usual = {"Authorization": f"Bearer {self.keys[key]}", "Content-Type": BATCH}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/v1/events", raw, usual | (headers or {}))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()

    def is_stored(self, source_id: str) -> bool:
        return bool(self.rows("SELECT 1 FROM events WHERE source_id = ?", source_id))

    def peak(self) -> int:
        """The most memory the process ever had, in kilobytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("bad-input")
    url, port = f"sqlite:///{folder / 'n.db'}", find_free_port()
    migrate(url)
    store, keys = open_store(url), {}
    with store.write() as tx:
        tx.save_policy(POLICY, "test", NOW)
        tx.save_tenants({TenantId("acme"): "Acme", TenantId("zeta"): "Zeta"})
        for tenant in ("acme", "zeta"):
            made = make_api_key()
            keys[tenant] = made.plaintext
            tx.save_api_key(
                ApiKey(made.id, TenantId(tenant), "api", made.secret_hash, ("*",), ("coolr.*",), False, False, NOW)
            )
    store.close()
    command = [sys.executable, "-m", "uvicorn", "notifier.web.app:create", "--factory", "--port", str(port)]
    environment = {
        "NOTIFIER_DATABASE_URL": url,
        "NOTIFIER_BROKER_URL": "",
        "NOTIFIER_LINK_KEYS": base64.urlsafe_b64encode(b"k" * 32).decode(),
        "NOTIFIER_BASE_URL": f"http://127.0.0.1:{port}",
    }
    log = folder / "web.log"
    with running(command, lambda: _healthy(port), log=log, environment=environment) as process:
        yield Site(port, process.pid, folder / "n.db", log, keys)


@pytest.fixture(autouse=True)
def nothing_breaks_or_leaks(site: Site) -> Iterator[None]:
    """After every bad request the process is healthy, and its log holds no traceback, no key, no event data."""
    before = len(site.log.read_text())
    yield
    assert _healthy(site.port)
    written = site.log.read_text()[before:]
    assert "Traceback" not in written
    assert not any(key in written for key in site.keys.values())
    assert "SECRETDATA" not in written


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def event(id_: str, **changes: Any) -> dict[str, Any]:
    data = {"order_number": id_, "outlet": {"code": "ES-1"}, "lines": [line()]}
    return {
        "specversion": "1.0",
        "id": id_,
        "source": "erp",
        "type": "coolr.order.recommended",
        "data": data | changes.pop("data", {}),
        **changes,
    }


def line(**changes: Any) -> dict[str, Any]:
    return {"sku": "1", "name": "Cola", "suggested_cases": 2} | changes


def text(id_: str, **changes: Any) -> str:
    return json.dumps(event(id_, **changes))


BAD: dict[str, tuple[str, str | None, str]] = {
    # what is wrong: (the event's text, field named in the answer, words of the reason)
    "a NUL": (text("b", data={"reason": "a\0SECRETDATA"}), "data.reason", "NUL"),
    "a NUL in a name": (text("b", data={"a\0b": 1}), "data.(name)", "NUL"),
    "half of a character": (text("b").replace("Cola", "\\ud800"), "data.lines[0].name", "surrogate"),
    "half of a character in a name": (text("b").replace("sku", "\\udfff"), "data.lines[0].(name)", "surrogate"),
    "NaN": (text("b", data={"x": float("nan")}), "data.x", "NaN"),
    "infinity": (text("b").replace(": 2}", ": 1e999}"), "data.lines[0].suggested_cases", "too large"),
    "400 digits": (text("b").replace(": 2}", f": {'9' * 400}}}"), "data.lines[0].suggested_cases", "400 digits"),
    "100 levels": (text("b", data={"extra": {"a": 1}}).replace('{"a": 1}', "[" * 100 + "]" * 100), None, "nested"),
    "a name twice": (text("b").replace('"sku"', '"name": "x", "sku"'), "data.lines[0].name", "twice"),
    "an attribute twice": (text("b").replace('"id"', '"source": "x", "id"'), "source", "twice"),
    "no JSON": ('{"specversion": 1.0, }', None, "not complete JSON"),
    "no object": ("[1]", None, "must be a JSON object"),
    "nothing between commas": ("", None, "not complete JSON"),
    "a long text": (text("b", data={"reason": "x" * 10_001}), "data.reason", "10,000"),
    "a text for a number": (
        text("b", data={"lines": [line(suggested_cases="2")]}),
        "data.lines[0].suggested_cases",
        "valid integer",
    ),
    "true for a number": (
        text("b", data={"lines": [line(suggested_cases=True)]}),
        "data.lines[0].suggested_cases",
        "valid integer",
    ),
    "a number for a text": (text("b", data={"lines": [line(name=5)]}), "data.lines[0].name", "string"),
    "a list for an object": (text("b", data={"outlet": []}), "data.outlet", "an object"),
    "one product twice": (text("b", data={"lines": [line(), line()]}), "data.lines[1].sku", "lines[0]"),
    "201 lines": (text("b", data={"lines": [line(sku=str(n)) for n in range(201)]}), "data.lines", "200"),
    "the year 1": (text("b", data={"deadline": "0001-01-01T00:00:00Z"}), "data.deadline", "2000"),
    "the year 9999": (text("b", data={"deadline": "9999-12-31T23:59:59-14:00"}), "data.deadline", "2100"),
    "an event of the year 1": (text("b", time="0001-01-01T00:00:00+14:00"), "time", "2000"),
    "a time that is none": (text("b", time="yesterday"), "time", "RFC 3339"),
    "a time that is a number": (text("b", time=5), "time", "RFC 3339"),
    "a picture inside": (text("b", data={"image": {"url": "http://169.254.169.254/x"}}), "data.image.url", "https"),
    "an unknown field": (text("b", data={"colour": "red"}), "data.colour", "extra"),
    "a reserved type": (text("b", type="coolr.decision.recorded"), "type", "only made here"),
    "an unknown type": (text("b", type="coolr.weather"), "type", "unknown type"),
    "another tenant": (text("b", tenant="zeta"), "tenant", "not the tenant"),
    "an unknown tenant": (text("b", tenant="nobody"), "tenant", "not the tenant"),
    "a recipient without the right": (
        text("b", recipients=[{"channel": "email", "address": "eve@example.com"}]),
        "recipients",
        "may not name recipients",
    ),
    "a control character in the id": (text("b\n"), "id", "control"),
    "a record with a text for a number": (
        '{"AlertId": 1, "LocationCode": "A", "AlertValue": "warm"}',
        "AlertValue",
        "number",
    ),
    "a record with an object for a text": (
        '{"AlertId": 1, "LocationCode": "A", "AlertText": {}}',
        "AlertText",
        "a text",
    ),
    "a record with no time": (
        '{"AlertId": 1, "LocationCode": "A", "LastUpdatedOn": "20261123"}',
        "LastUpdatedOn",
        "17 digits",
    ),
    "a record without its store": ('{"AlertId": 1}', "LocationCode", "missing"),
    "a record with half a count": (
        '{"AssetPurityId": 5, "LocationCode": "A", "PurityDateTime": "2026-11-23T10:00:00", "ForeignProduct": 1.5}',
        "ForeignProduct",
        "whole",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_one_bad_event_is_named_and_kept_and_its_neighbours_are_accepted_p8(site: Site, what: str) -> None:
    bad, field, reason = BAD[what]
    before, after = f"{what} before", f"{what} after"
    status, answer = site.post(f"[{text(before)},{bad},{text(after)}]".encode())
    assert status == 202
    assert [result["status"] for result in answer["results"]] == ["accepted", "rejected", "accepted"]
    told = answer["results"][1]
    assert told.get("field") == field
    assert reason in told["reason"]
    assert site.is_stored(before) and site.is_stored(after)
    [(kept, tenant)] = site.rows("SELECT body, tenant FROM quarantine WHERE id = ?", told["quarantine_id"])
    assert kept.strip() == bad.strip(), "kept as it came"
    assert tenant == "acme"


SINGLE = {
    # what is wrong: (status, field)
    "a reserved type": (422, "type"),
    "another tenant": (403, "tenant"),
    "a recipient without the right": (403, "recipients"),
    "a NUL": (422, "data.reason"),
    "one product twice": (422, "data.lines[1].sku"),
}


@pytest.mark.parametrize("what", SINGLE)
def test_a_single_bad_event_is_a_problem_document_with_field_and_reason(site: Site, what: str) -> None:
    status, problem = site.post(BAD[what][0].encode(), headers={"Content-Type": ONE})
    assert (status, problem["field"]) == SINGLE[what]
    assert problem["status"] == status and problem["reason"] in problem["detail"]


def test_another_content_under_the_same_identity_is_a_conflict_and_the_first_is_kept(site: Site) -> None:
    assert site.post(event("same"), headers={"Content-Type": ONE})[0] == 202
    status, problem = site.post(event("same", data={"reason": "changed"}), headers={"Content-Type": ONE})
    assert (status, problem["code"], problem["field"]) == (409, "conflict", "id")
    [(data,)] = site.rows("SELECT data FROM events WHERE source_id = 'same'")
    assert "changed" not in data


WHOLE = {
    # a body that is no list of events: (body, headers, status, words of the answer)
    "cut off": (text("x")[:-9].encode(), {}, 422, "not complete JSON"),
    "a list cut off": (f"[{text('x')},".encode(), {}, 422, "ends early"),
    "text after the list": (b"[] x", {}, 422, "after the list"),
    "records that are no JSON around": (b'{"records": [], }', {}, 422, "not complete JSON"),
    "nothing": (b"", {}, 422, "not complete JSON"),
    "1,001 events": (f"[{','.join([text('x')] * 1001)}]".encode(), {}, 413, "more than 1,000 events"),
    "a list as one": (b"[]", {"Content-Type": ONE}, 422, BATCH),
    "a million brackets": (b"[" * 4_000_000, {}, 413, "more than 3,000,000"),
    "a body of quotes": (b"[" + b'\\"' * 2_000_000, {}, 422, "ends early"),
    "a foreign form": (b"<a/>", {"Content-Type": "text/xml"}, 415, "Content-Type"),
    "a foreign packing": (b"[]", {"Content-Encoding": "br"}, 415, "gzip"),
    "gzip that is none": (b"[]", {"Content-Encoding": "gzip"}, 400, "not gzip"),
    "gzip cut off": (gzip.compress(b"[]" * 99)[:-9], {"Content-Encoding": "gzip"}, 400, "ends early"),
    "gzip and more": (gzip.compress(b"[]") + b"x", {"Content-Encoding": "gzip"}, 400, "after the end"),
    "10 MB declared": (b" " * 10_000_001, {}, 413, "larger than"),
    "binary, an attribute not encoded": (b"{}", {"Content-Type": JSON, "ce-id": "\xe9"}, 422, "percent-encoded"),
    "binary, not UTF-8": (b"{}", {"Content-Type": JSON, "ce-id": "%ff"}, 422, "percent-encoded"),
    "binary, a NUL": (b"{}", {"Content-Type": JSON, "ce-id": "%00", "ce-specversion": "1.0"}, 422, "NUL"),
    "binary, a name that is none": (b"{}", {"Content-Type": JSON, "ce-a-b": "1"}, 422, "no attribute"),
    "binary, data cut off": (b"{", {"Content-Type": JSON, "ce-id": "1"}, 422, "data: not complete"),
    "binary, a version": (b"{}", {"Content-Type": JSON, "ce-id": "1", "ce-specversion": "9"}, 422, "specversion"),
    "binary, recipients": (b"{}", {"Content-Type": JSON, "ce-recipients": "["}, 422, "recipients: not complete"),
    "binary, a foreign form": (b"{}", {"Content-Type": "text/xml", "ce-id": "1"}, 415, "application/json"),
}


@pytest.mark.parametrize("what", WHOLE)
def test_a_body_that_is_no_list_of_events_is_refused_whole_and_says_why(site: Site, what: str) -> None:
    body, headers, status, words = WHOLE[what]
    before = site.rows("SELECT count(*) FROM events")
    got, problem = site.post(body, headers=headers)
    assert (got, words in problem["detail"]) == (status, True), problem
    assert site.rows("SELECT count(*) FROM events") == before


def test_a_body_without_length_is_cut_at_ten_megabytes(site: Site) -> None:
    parts = (b" " * 100_000 for _ in range(150))
    try:
        status, problem = site.post(parts)
    except (BrokenPipeError, ConnectionResetError):
        return  # answered and closed while we were still sending
    assert (status, "larger than" in problem["detail"]) == (413, True)


def test_a_megabyte_of_gzip_that_becomes_a_gigabyte_costs_no_memory(site: Site) -> None:
    block = b"\0" * 1_000_000
    packer = zlib.compressobj(9, wbits=31)
    packed = [packer.compress(block) for _ in range(1000)]
    bomb = b"".join([*packed, packer.flush()])
    assert len(bomb) < 1_100_000
    site.post([event("warm")])
    before = site.peak()
    status, problem = site.post(bomb, headers={"Content-Encoding": "gzip"})
    assert (status, "decompresses" in problem["detail"]) == (413, True)
    assert site.peak() - before < GROWTH


def test_template_text_and_link_marks_in_a_name_are_data(site: Site) -> None:
    name = "{{ 7*7 }} {% raise %} [link=https://evil.example] ${jndi:ldap://x} <script>"
    status, answer = site.post([event("hostile", data={"lines": [line(name=name)]})])
    assert (status, answer["accepted"]) == (202, 1)
    [(data,)] = site.rows("SELECT data FROM events WHERE source_id = 'hostile'")
    assert json.loads(data)["lines"][0]["name"] == name


def test_binary_mode_takes_a_good_event(site: Site) -> None:
    whole = event("binary %")
    attributes = {
        f"ce-{name}": str(whole[name]).replace("%", "%25") for name in ("specversion", "id", "source", "type")
    }
    status, answer = site.post(whole["data"], headers={**attributes, "Content-Type": JSON})
    assert (status, answer["accepted"]) == (202, 1)
    assert site.is_stored("binary %")


def test_an_answer_of_coolrs_list_is_taken_record_by_record(site: Site) -> None:
    alert = {"AlertId": 71, "Status": "New", "LastUpdatedOn": "20261123101112345", "LocationCode": "A", "AlertValue": 1}
    picture = {"AssetPurityId": 9, "PurityDateTime": "2026-11-23T10:00:00", "LocationCode": "A", "ImageStatus": "New"}
    records = [alert, alert, {**alert, "LastUpdatedOn": "20261123111112345"}, picture, {**picture, "ImageStatus": ""}]
    for body in ({"totalRecords": 5, "records": records}, records):
        status, answer = site.post(body, headers={"Content-Type": JSON})
        assert status == 202
    assert [result["status"] for result in answer["results"]] == 2 * ["duplicate"] + 2 * ["unchanged"] + ["duplicate"]
    assert not site.rows("SELECT 1 FROM quarantine WHERE code = 'not_processed'"), "no event yet is no mistake"


def test_a_thousand_events_at_once_are_accepted(site: Site) -> None:
    packed = gzip.compress(json.dumps([event(f"many {n}") for n in range(1000)]).encode())
    status, answer = site.post(packed, headers={"Content-Encoding": "gzip"})
    assert (status, answer["accepted"]) == (202, 1000)


def test_a_key_sees_nothing_of_another_tenants_events(site: Site) -> None:
    """P11: the same identity at another tenant is simply another event."""
    mine, theirs = site.post([event("shared")]), site.post([event("shared", data={"reason": "x"})], key="zeta")
    assert mine[1]["accepted"] == theirs[1]["accepted"] == 1
    assert "acme" not in json.dumps(theirs[1])


def test_many_bad_requests_at_once_leave_room_for_good_ones(site: Site) -> None:
    bodies = [bad.encode() for bad, _, _ in BAD.values()] + [b"[" * 100_000, b'"' * 100_000]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: site.post(body, headers={"Content-Type": JSON})[0], bodies * 4))
        good = list(pool.map(lambda n: site.post([event(f"good {n}")])[1]["accepted"], range(20)))
    assert set(answers) <= {202, 403, 422, 413}
    assert good == [1] * 20


def test_without_a_key_nothing_is_read(site: Site) -> None:
    for headers in ({"Authorization": "Bearer nk_000000000000_" + "x" * 43}, {"Authorization": "nonsense"}):
        before = site.rows("SELECT count(*) FROM quarantine")
        status, problem = site.post(b"[" * 100, headers=headers)
        assert (status, problem["title"]) == (401, "No valid API key")
        assert site.rows("SELECT count(*) FROM quarantine") == before

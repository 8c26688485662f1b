"""E-mail: the contract against a scripted server, and the real ones: Postfix, smtp-sink, aiosmtpd with a log-in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from aiosmtpd.smtp import AuthResult, LoginPassword

from notifier.channels._smtp import SmtpPool, SmtpServer, StartTls, parse_url
from notifier.channels.email import BEFORE_CONTENT, IN_CONTENT, EmailChannel, EmailSettings, build, receipt_of
from notifier.config import Settings
from notifier.core.ids import AttemptId, NotificationId, new_id
from notifier.core.lanes import sign_of
from notifier.core.model import ChannelName, LaneSign
from notifier.engine import EngineLimits
from notifier.errors import ConfigError, DeliveryError, OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.ports import Delivery, EmailTarget, Receipt
from notifier.testing import ACME, NOW
from tests.channels.contract import TAKEN, ChannelContract, Means, Result, later, never, send, unknown
from tests.channels.servers import Act, Answer, Handler, serving, smtp
from tests.peers.mail import Postfix, Sink
from tests.peers.process import find_free_port

PASSWORD = "a-password-of-the-relay"
SENDER = "Coolr – Acme <alerts@acme.example>"
PARTS = {"subject": "Main St – order 1042", "text": "Größe\n.\n..two dots\n", "html": "<p>Größe</p>\n"}
NOTIFICATION = NotificationId(new_id())


def delivery(to: str = "alice.of.main.street@example.test", **target: Any) -> Delivery:
    """An attempt of one notification."""
    facts = {"sender": SENDER, "reply_to": "help@acme.example", "message_id": f"<{NOTIFICATION}@notify.example>"}
    mail = EmailTarget(to, **(facts | target))
    return Delivery(AttemptId(new_id()), NOTIFICATION, ACME, ChannelName.EMAIL, mail, PARTS, NOW)


def channel(port: int, seconds: float = 5.0, **server: Any) -> EmailChannel:
    """A channel to a server on this machine."""
    facts: dict[str, Any] = {"start_tls": StartTls.OFF, "host": "127.0.0.1"}
    return EmailChannel(EmailSettings(SmtpServer(port=port, **(facts | server)), seconds, seconds))


PIPELINING: Mapping[str, Answer] = {"EHLO": b"250-mail.example.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"}


class TestEmail(ChannelContract):
    """The contract; an answer is what the server says at one step."""

    greets: ClassVar[Mapping[str, Answer]] = {}

    answers: ClassVar[Sequence[tuple[Any, Means]]] = [
        # taken
        ({}, Means(TAKEN)),
        ({"content": b"250 ok\r\n"}, Means(TAKEN)),
        ({"RCPT": b"251 will forward\r\n"}, Means(TAKEN)),
        # the mailbox: later (greylisting, full), or never
        ({"RCPT": b"450 4.2.0 greylisted\r\n"}, later("450")),
        ({"RCPT": b"452 4.2.2 mailbox full\r\n"}, later("452")),
        ({"RCPT": b"552 5.2.2 over quota\r\n"}, never("552")),
        ({"RCPT": b"550 5.7.1 no relay for alice.of.main.street@example.test\r\n"}, never("550")),
        # there is no such mailbox: nobody is written to there again
        ({"RCPT": b"550 5.1.1 <alice.of.main.street@example.test> unknown\r\n"}, never("550", disable=True)),
        ({"content": b"550 5.1.1 unknown after all\r\n"}, never("550", disable=True)),
        ({"RCPT": b"556 5.1.10 takes no mail\r\n"}, never("556", disable=True)),
        # the mail: answered, so no doubt
        ({"DATA": b"451 4.3.0 not now\r\n"}, later("451")),
        ({"content": b"451 4.7.1 try later\r\n"}, later("451")),
        ({"content": b"554 5.7.1 looks like spam\r\n"}, never("554")),
        ({"content": b"552 5.3.4 too big\r\n"}, never("552")),
        # the server, whatever the mail: everything in the lane waits, nothing is given up
        ({"greeting": b"554 5.7.1 your address is on a list\r\n"}, later("554", lane_wide=True)),
        ({"greeting": b"421 4.3.2 shutting down\r\n"}, later("421", lane_wide=True)),
        ({"EHLO": b"550 5.7.1 go away\r\n", "HELO": b"550 5.7.1 go away\r\n"}, later("550", lane_wide=True)),
        ({"MAIL": b"530 5.7.0 log in first\r\n"}, later("530", lane_wide=True)),
        ({"MAIL": b"550 5.1.1 no such sender\r\n"}, later("550", lane_wide=True)),
        ({"MAIL": b"421 4.7.0 too many mails\r\n"}, later("421", lane_wide=True)),
        ({"RCPT": b"421 4.7.0 too many\r\n"}, later("421", lane_wide=True)),
        ({"DATA": b"421 4.7.0 too many\r\n"}, later("421", lane_wide=True)),
        # gone before the mail was handed over: not sent
        ({"greeting": Act.CUT}, later(None)),
        ({"MAIL": Act.CUT}, later(None)),
        ({"RCPT": Act.RESET}, later(None)),
        ({"DATA": Act.CUT}, later(None)),
        ({"RCPT": b"what?\r\n"}, later(None)),
        ({"RCPT": b"354 what?\r\n"}, later(None)),
        ({"RCPT": b"250-" + b"x" * 10_000 + b"\r\n"}, later(None)),
        ({"RCPT": b"250-x\r\n" * 80_000}, later(None)),
        # gone after: it may have the mail (P4)
        ({"content": b"what?\r\n"}, unknown()),
        ({"content": b"999 what?\r\n"}, unknown()),
    ]
    hidden: ClassVar[Sequence[str]] = [PASSWORD, "alice.of.main.street@example.test", "Größe"]

    def channel(self, port: int, seconds: float = 5.0) -> EmailChannel:
        return channel(port, seconds)

    def delivery(self, port: int) -> Delivery:
        return delivery()

    def bad_addresses(self, port: int) -> Sequence[Delivery]:
        return [
            delivery("nobody"),
            delivery("alice.of.main.street@example.test, mallory@example.test"),  # a second would read along
            delivery("alice@example.test>\r\nRCPT TO:<mallory@example.test"),
            delivery("alice of main@example.test"),
            delivery("jürgen@example.test"),  # needs SMTPUTF8, which servers on the way may lack
            delivery(f"{'a' * 320}@example.test"),
            delivery(sender=""),
            delivery(sender="Coolr\r\nBcc: mallory@example.test <alerts@acme.example>"),
        ]

    def handler(self, answer: Mapping[str, Answer] | Act, seen: list[bytes]) -> Handler:
        return smtp({**self.greets, **({"content": answer} if isinstance(answer, Act) else answer)}, seen)

    def identity(self, seen: list[bytes]) -> Sequence[bytes]:
        lines = [line for mail in seen if b"\r\n" in mail for line in mail.split(b"\r\n")]
        return [line for line in lines if line.startswith(b"Message-ID:")]


class TestEmailInOneWrite(TestEmail):
    """The same with a server that takes several commands at once (RFC 2920)."""

    greets = PIPELINING


# -- held connections --------------------------------------------------------------------------------------------------


Play = Callable[..., tuple[list[Result], list[bytes]]]


@pytest.fixture(params=[{}, PIPELINING], ids=["step by step", "in one write"])
def play(request: pytest.FixtureRequest) -> Play:
    """Send one after the other to such a server; what came out, and what it heard."""

    def played(
        says: Mapping[str, Answer], *deliveries: Delivery, mails: int = 100, **server: Any
    ) -> tuple[list[Result], list[bytes]]:
        seen: list[bytes] = []

        async def main() -> list[Result]:
            async with serving(smtp({**request.param, **says}, seen, mails)) as port:
                return await send(channel(port, **server), *deliveries)

        return asyncio.run(main()), seen

    return played


def test_many_mails_travel_over_one_connection_that_ends_with_quit(play: Play) -> None:
    results, seen = play({}, *(delivery() for _ in range(5)))
    assert [type(result) for result in results] == [Receipt] * 5
    assert (seen.count(b"+"), seen[-1]) == (1, b"QUIT")


@pytest.mark.parametrize("step", ["RCPT", "content", "MAIL"])
def test_a_refused_mail_leaves_the_connection_to_the_next_one(play: Play, step: str) -> None:
    _, seen = play({step: b"550 5.7.1 no\r\n"}, delivery(), delivery(), delivery())
    assert seen.count(b"+") == 1
    assert seen.count(b"RSET") == 2


@pytest.mark.parametrize("says", [b"421 4.3.2 closing\r\n", Act.CUT, Act.RESET])
def test_a_connection_that_the_server_gave_up_meanwhile_is_replaced_unnoticed(play: Play, says: Answer) -> None:
    results, seen = play({"MAIL again": says}, delivery(), delivery())
    assert [type(result) for result in results] == [Receipt] * 2
    assert seen.count(b"+") == 2


def test_a_held_connection_costs_no_question_between_two_mails(play: Play) -> None:
    _, seen = play({}, delivery(), delivery())
    assert [line[:4] for line in seen if line[:4] in (b"RSET", b"MAIL", b"NOOP")] == [b"MAIL", b"MAIL"]


def test_a_sender_that_is_refused_on_a_held_connection_waits_and_keeps_the_connection(play: Play) -> None:
    results, seen = play({"MAIL again": b"451 4.3.0 not now\r\n"}, delivery(), delivery(), delivery())
    assert [type(result) for result in results] == [Receipt, TemporaryFailure, TemporaryFailure]
    assert seen.count(b"+") == 1


@pytest.mark.parametrize("answer", [b"421 4.7.0 enough\r\n", Act.CUT, Act.SILENT, b"what?\r\n"])
def test_a_connection_that_failed_is_not_used_again(play: Play, answer: Answer) -> None:
    _, seen = play({"content": answer}, delivery(), delivery(), seconds=0.3)
    assert seen.count(b"+") == 2


def test_an_answer_counts_although_the_server_closes_behind_it_p4(play: Play) -> None:
    """Else a mail that was taken would be sent again."""
    results, seen = play({}, delivery(), delivery(), delivery(), mails=1)
    assert [type(result) for result in results] == [Receipt] * 3
    assert seen.count(b"+") == 3


def test_a_connection_on_which_the_server_spoke_unasked_is_not_used_again(play: Play) -> None:
    """What came could be taken for the answer to the next mail (P4)."""
    results, seen = play({"content": b"250 ok\r\n250 ok\r\n"}, delivery(), delivery())
    assert [type(result) for result in results] == [Receipt] * 2
    assert seen.count(b"+") == 2


def test_a_server_that_wants_the_mail_of_a_recipient_it_refused_gets_none(play: Play) -> None:
    """RFC 2920 section 3.1: it may say 354 although no recipient was taken."""
    results, seen = play({"RCPT": b"550 5.7.1 no\r\n", "DATA": b"354 go on\r\n"}, delivery(), delivery())
    assert [Means.of(result) for result in results] == [never("550")] * 2
    assert not [heard for heard in seen if b"Message-ID" in heard]


def test_lines_that_begin_with_a_dot_arrive_as_they_were() -> None:
    """RFC 5321 section 4.5.2; our own mails have none, since their parts are base64."""
    dotted = b".\r\n..\r\nx.\r\n"

    async def main() -> list[bytes]:
        seen: list[bytes] = []
        async with serving(smtp({}, seen)) as port:
            pool = SmtpPool(SmtpServer("127.0.0.1", port, start_tls=StartTls.OFF))
            async with pool.turn(), pool.begun("a@example.test", "b@example.test") as dialogue:
                await dialogue.content(dotted)
            await pool.close()
        return seen

    assert b"..\r\n...\r\nx.\r\n.\r\n" in asyncio.run(main())


def test_no_more_connections_are_opened_than_allowed() -> None:
    seen: list[bytes] = []

    async def main() -> None:
        async with serving(smtp({}, seen)) as port:
            one = channel(port, connections=2)
            await one.open()
            await asyncio.gather(*(one.send(delivery()) for _ in range(20)))
            await one.close()

    asyncio.run(main())
    assert seen.count(b"+") <= 2


def test_waiting_for_a_connection_in_vain_was_not_sent_p4() -> None:
    async def main() -> Sequence[Receipt | BaseException]:
        async with serving(smtp({"content": Act.SILENT})) as port:
            one = EmailChannel(
                EmailSettings(SmtpServer("127.0.0.1", port, start_tls=StartTls.OFF, connections=1), 0.3, 1)
            )
            await one.open()
            results = await asyncio.gather(one.send(delivery()), one.send(delivery()), return_exceptions=True)
            await one.close()
            return results

    unknown, waited = sorted(asyncio.run(main()), key=lambda result: type(result).__name__)
    assert isinstance(unknown, OutcomeUnknown)
    assert isinstance(waited, TemporaryFailure)
    assert sign_of(waited, ChannelName.EMAIL) is LaneSign.NONE, "a queue of our own is no trouble of the server"


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT"])
def test_silence_before_the_mail_was_not_sent_p4(play: Play, step: str) -> None:
    [error], _ = play({step: Act.SILENT}, delivery(), seconds=0.2)
    assert isinstance(error, TemporaryFailure)
    assert (error.reason, error.code) == ("timeout", None)


def test_the_channel_ends_a_send_before_the_engine_does() -> None:
    """Else the engine would call unknown what was never sent (P4)."""
    assert EngineLimits().send_budget > BEFORE_CONTENT + IN_CONTENT


def test_a_send_that_is_cancelled_leaves_no_connection_in_the_middle_of_a_mail() -> None:
    seen: list[bytes] = []

    async def main() -> None:
        async with serving(smtp({"RCPT": Act.SILENT}, seen)) as port:
            one = channel(port)
            await one.open()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(one.send(delivery()), 0.2)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(one.send(delivery()), 0.2)
            await one.close()

    asyncio.run(main())
    assert seen.count(b"+") == 2


# -- what is said ------------------------------------------------------------------------------------------------------


def test_the_envelope_is_bare_and_ascii_and_the_header_shows_the_name() -> None:
    mail = build(delivery("alice@bücher.example", sender="Böhm & Co <alerts@straße.example>"))
    assert mail.recipient == "alice@xn--bcher-kva.example"
    assert mail.sender == "alerts@xn--strae-oqa.example"
    assert "alice" not in repr(mail)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("2.0.0 Ok: queued as 4BxK2q1Z", "4BxK2q1Z"),  # Postfix
        ("OK id=1rXyzA-0001", "1rXyzA-0001"),  # Exim
        ("OK", None),
        ("queued as <script>", None),
    ],
)
def test_the_servers_name_for_the_mail_is_kept(answer: str, name: str | None) -> None:
    assert receipt_of(answer).provider_id == name


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        # a relay somewhere: encrypted or not at all
        ("smtp://u:p%40ss@relay.example", ("relay.example", 587, False, StartTls.REQUIRED, "u", "p@ss")),
        ("smtps://relay.example", ("relay.example", 465, True, StartTls.REQUIRED, "", "")),
        # this machine: encrypted when it can
        ("smtp://127.0.0.1:2525", ("127.0.0.1", 2525, False, StartTls.OPPORTUNISTIC, "", "")),
        ("smtp://relay.example:25?starttls=off", ("relay.example", 25, False, StartTls.OFF, "", "")),
    ],
)
def test_the_address_of_the_server_says_everything(url: str, expected: tuple[Any, ...]) -> None:
    server = parse_url(url)
    assert (server.host, server.port, server.tls, server.start_tls, server.user, server.password) == expected


@pytest.mark.parametrize(
    "url",
    [
        "relay.example:25",
        "http://relay.example",
        "smtp://relay.example:70000",
        "smtp://relay.example?starttls=maybe",
        "smtp://relay.example?connections=many",
        f"smtp://u:{PASSWORD}@relay.example?starttls=off",  # anybody on the way reads the password
        f"smtp://u:{PASSWORD}@relay.example?starttls=opportunistic",  # anybody on the way can switch it off
    ],
)
def test_a_mistake_in_it_is_named_without_the_password_p10(url: str) -> None:
    with pytest.raises(ConfigError, match="NOTIFIER_SMTP_URL") as caught:
        EmailChannel.from_settings(Settings.model_validate({"smtp_url": url}))
    assert PASSWORD not in str(caught.value)


def test_without_a_server_there_is_no_channel() -> None:
    assert EmailChannel.from_settings(Settings()) is None


# -- real servers ------------------------------------------------------------------------------------------------------


def deliver(one: EmailChannel, *deliveries: Delivery) -> list[Result]:
    """Send one after the other."""
    return asyncio.run(send(one, *deliveries))


def to_postfix(postfix: Postfix, start_tls: StartTls, trust: ssl.SSLContext | None = None) -> EmailChannel:
    """A channel to Postfix by the name in its certificate."""
    return channel(postfix.port, host="localhost", start_tls=start_tls, tls_context=trust)


@pytest.mark.processes
@pytest.mark.parametrize("start_tls", [StartTls.REQUIRED, StartTls.OPPORTUNISTIC])
def test_postfix_takes_mails_over_starttls_as_they_were_written(postfix: Postfix, start_tls: StartTls) -> None:
    to = f"alice-{start_tls}@example.test"
    results = deliver(to_postfix(postfix, start_tls, postfix.trust), *(delivery(to) for _ in range(3)))
    assert all(isinstance(result, Receipt) and result.provider_id for result in results), results
    mail, *others = postfix.wait_for(to, 3)
    assert {other["Message-ID"] for other in others} == {mail["Message-ID"]} == {f"<{NOTIFICATION}@notify.example>"}
    assert (mail["From"], mail["To"], mail["Subject"]) == ("Coolr – Acme <alerts@acme.example>", to, PARTS["subject"])
    assert (mail["Reply-To"], mail["Auto-Submitted"]) == ("help@acme.example", "auto-generated")
    text, html = mail.iter_parts()
    assert [part.get_content().replace("\r\n", "\n") for part in (text, html)] == [PARTS["text"], PARTS["html"]]
    assert "with ESMTPS" in str(mail["Received"]) or "(using TLS" in str(mail["Received"])


@pytest.mark.processes
@pytest.mark.parametrize("start_tls", [StartTls.REQUIRED, StartTls.OPPORTUNISTIC])
def test_a_certificate_that_is_not_trusted_stops_the_mail_p4(postfix: Postfix, start_tls: StartTls) -> None:
    [error] = deliver(to_postfix(postfix, start_tls), delivery("stopped@example.test"))
    assert isinstance(error, TemporaryFailure)
    assert (error.reason, error.code, error.lane_wide) == ("tls", None, True)
    assert "stopped@example.test" not in postfix.log


@pytest.mark.processes
def test_postfix_refuses_one_recipient_and_takes_the_next_on_the_same_connection(postfix: Postfix) -> None:
    people = ["gone@example.test", "full@example.test", "later@example.test", "next@example.test"]
    results = deliver(to_postfix(postfix, StartTls.REQUIRED, postfix.trust), *map(delivery, people))
    assert [Means.of(result) for result in results] == [
        never("550", disable=True),
        later("452"),
        later("450"),
        Means(TAKEN),
    ]
    postfix.wait_for("next@example.test")


@pytest.mark.processes
def test_a_server_without_starttls_gets_nothing_when_it_is_required_p4(smtp_sink: Callable[..., Sink]) -> None:
    sink = smtp_sink()
    [error] = deliver(channel(sink.port, start_tls=StartTls.REQUIRED), delivery())
    assert isinstance(error, TemporaryFailure)
    assert (error.reason, error.lane_wide, sink.messages()) == ("configuration", True, [])


@pytest.mark.processes
@pytest.mark.parametrize(
    ("flags", "kind", "code"),
    [
        (("-q", "data"), TemporaryFailure, None),  # hangs up at DATA: it has not seen the mail
        (("-q", "."), OutcomeUnknown, None),  # after the whole mail: it may have it, for all we know
        (("-q", "rcpt"), TemporaryFailure, None),  # hangs up at RCPT: it has not
        (("-Q", "data"), TemporaryFailure, "421"),
        (("-Q", "connect"), TemporaryFailure, "421"),
        (("-f", "rcpt", "-B", "550 5.1.1 unknown"), PermanentFailure, "550"),
        (("-r", "."), TemporaryFailure, "450"),  # after the whole mail
    ],
)
def test_smtp_sink_misbehaves_and_is_understood_p4(
    smtp_sink: Callable[..., Sink], flags: tuple[str, ...], kind: type[DeliveryError], code: str | None
) -> None:
    [error] = deliver(channel(smtp_sink(*flags).port), delivery())
    assert isinstance(error, kind)
    assert error.code == code


class Keep(Message):
    """Keeps the subjects."""

    def __init__(self) -> None:
        super().__init__()
        self.subjects: list[str] = []

    def handle_message(self, message: Any) -> None:
        self.subjects.append(str(message["Subject"]))


@contextmanager
def login_server(tls: bool) -> Iterator[tuple[int, Keep, ssl.SSLContext]]:
    """A server that wants a log-in over TLS: by STARTTLS, or from the first byte."""
    authority, context, client = (
        trustme.CA(),
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.configure_trust(client)
    keep = Keep()

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=data == LoginPassword(b"coolr", PASSWORD.encode()), handled=False)

    names: dict[str, Any] = {"ssl_context": context} if tls else {"tls_context": context, "require_starttls": True}
    controller = Controller(
        keep, "127.0.0.1", find_free_port(), authenticator=check, auth_required=True, auth_require_tls=not tls, **names
    )
    controller.start()
    try:
        yield controller.port, keep, client
    finally:
        controller.stop()


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")  # aiosmtpd does not see that smtps is TLS already
@pytest.mark.parametrize("tls", [False, True])
def test_a_log_in_opens_the_server_and_a_wrong_one_makes_the_lane_wait(tls: bool) -> None:
    with login_server(tls) as (port, keep, trust):
        start_tls = StartTls.REQUIRED
        known: dict[str, Any] = {"tls": tls, "start_tls": start_tls, "tls_context": trust, "user": "coolr"}
        [taken] = deliver(channel(port, password=PASSWORD, **known), delivery())
        [wrong] = deliver(channel(port, password="wrong", **known), delivery())
        [missing] = deliver(channel(port, **known | {"user": ""}), delivery())
    assert isinstance(taken, Receipt)
    assert Means.of(wrong) == later("535", lane_wide=True)
    assert Means.of(missing) == later("530", lane_wide=True)
    assert len(keep.subjects) == 1


def test_a_server_that_is_not_what_its_port_says_is_a_matter_of_tls_or_time_p4(play: Play) -> None:
    """smtps:// to a port that speaks plain SMTP."""
    [error], _ = play({}, delivery(), tls=True, seconds=1.0)
    assert isinstance(error, TemporaryFailure)
    assert error.code is None


def test_settings_do_not_show_the_password_p10() -> None:
    server = replace(parse_url(f"smtps://u:{PASSWORD}@relay.example"), connections=3)
    assert PASSWORD not in repr(EmailSettings(server)) + repr(vars(EmailChannel(EmailSettings(server))))

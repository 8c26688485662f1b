"""What every channel promises, as a class to inherit: one meaning per answer, not sent against unknown, nothing leaked.

A subclass says how its receiver is played (`handler`), how its channel and deliveries are made, and what each answer
means (`answers`). Everything goes over real sockets.
"""

from __future__ import annotations

import asyncio
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from notifier.core.model import AttemptOutcome, ChannelName
from notifier.core.retrying import after_error
from notifier.errors import DeliveryError, OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.ports import Channel, Delivery, Receipt
from notifier.testing import NOW
from tests.channels.servers import Act, Handler, serving
from tests.peers.process import find_free_port

TAKEN = Receipt
Result = Receipt | DeliveryError


@dataclass(frozen=True)
class Means:
    """What an answer means."""

    kind: type[Receipt | DeliveryError]
    code: str | None = None
    disable: bool = False
    lane_wide: bool = False
    retry_after: float | None = None

    @classmethod
    def of(cls, result: Result) -> Means:
        """What came out, in the words of the table."""
        if isinstance(result, Receipt):
            return cls(Receipt)
        facts = {name: getattr(result, name, default) for name, default in cls._FACTS.items()}
        return cls(type(result), result.code, **facts)

    _FACTS: ClassVar[dict[str, Any]] = {"disable": False, "lane_wide": False, "retry_after": None}


def later(code: str | None, **facts: Any) -> Means:
    """Try again."""
    return Means(TemporaryFailure, code, **facts)


def never(code: str, **facts: Any) -> Means:
    """Another try cannot help."""
    return Means(PermanentFailure, code, **facts)


def unknown(code: str | None = None) -> Means:
    """The receiver may have it."""
    return Means(OutcomeUnknown, code)


async def send(channel: Channel, *deliveries: Delivery) -> list[Result]:
    """Send one after the other over one channel, from open to close."""
    results: list[Result] = []
    await channel.open()
    try:
        for delivery in deliveries:
            try:
                results.append(await channel.send(delivery))
            except DeliveryError as error:
                results.append(error)
    finally:
        await channel.close()
    return results


class ChannelContract(ABC):
    """Inherited by the test class of each channel."""

    #: Answer of the receiver → meaning, one row each with a comment.
    answers: ClassVar[Sequence[tuple[Any, Means]]]
    #: Strings that no error, repr or log may show.
    hidden: ClassVar[Sequence[str]]

    @abstractmethod
    def channel(self, port: int, seconds: float = 5.0) -> Channel:
        """A channel whose sends may take that long."""

    @abstractmethod
    def delivery(self, port: int) -> Delivery:
        """A delivery to the receiver at that port; each call another attempt of the same notification."""

    @abstractmethod
    def bad_addresses(self, port: int) -> Sequence[Delivery]:
        """Deliveries whose address is never called."""

    @abstractmethod
    def handler(self, answer: Any, seen: list[bytes]) -> Handler:
        """A receiver that answers, or acts, so once the request is there; what it got goes to `seen`."""

    @abstractmethod
    def identity(self, seen: list[bytes]) -> Sequence[bytes]:
        """By what the receiver knows each request again."""

    def play(self, answer: Any, times: int = 1, seconds: float = 5.0, seen: list[bytes] | None = None) -> list[Result]:
        """What becomes of deliveries to a receiver that answers so."""

        async def main() -> list[Result]:
            async with serving(self.handler(answer, [] if seen is None else seen)) as port:
                return await send(self.channel(port, seconds), *(self.delivery(port) for _ in range(times)))

        return asyncio.run(main())

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test per row of `answers`."""
        if "meaning" in metafunc.fixturenames:
            metafunc.parametrize(("answer", "meaning"), self.answers)

    def test_each_answer_means_one_thing(self, answer: Any, meaning: Means) -> None:
        [result] = self.play(answer)
        assert Means.of(result) == meaning

    def test_a_refused_connection_was_not_sent_p4(self) -> None:
        port = find_free_port()
        [error] = asyncio.run(send(self.channel(port), self.delivery(port)))
        assert isinstance(error, TemporaryFailure)
        assert _outcome(error) is AttemptOutcome.NOT_SENT

    @pytest.mark.parametrize("act", [Act.CUT, Act.RESET])
    def test_a_connection_cut_after_the_request_leaves_it_unknown_p4(self, act: Act) -> None:
        [error] = self.play(act)
        assert isinstance(error, OutcomeUnknown)
        assert _outcome(error) is AttemptOutcome.UNKNOWN

    def test_silence_after_the_request_is_bounded_and_leaves_it_unknown_p4(self) -> None:
        [error] = self.play(Act.SILENT, seconds=0.3)
        assert isinstance(error, OutcomeUnknown)

    def test_an_address_that_cannot_be_written_to_fails_for_good_without_a_connection(self) -> None:
        seen: list[bytes] = []

        async def main() -> list[list[Result]]:
            async with serving(self.handler(Act.CUT, seen)) as port:
                return [await send(self.channel(port), bad) for bad in self.bad_addresses(port)]

        results = asyncio.run(main())
        assert results
        assert [type(result) for [result] in results] == [PermanentFailure] * len(results)
        assert seen == []

    def test_what_must_not_go_any_more_is_held_back_with_the_connection_in_hand_p4(self) -> None:
        """Its session missed the heartbeat while it waited for the connection."""
        seen: list[bytes] = []
        fenced = TemporaryFailure("fenced")
        play = self.handler(self.answers[0][0], seen)

        def check() -> None:
            raise fenced

        async def main() -> list[Result]:
            connected = asyncio.Event()

            async def watching(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                connected.set()
                await play(reader, writer)

            async with serving(watching) as port:
                results = await send(self.channel(port), replace(self.delivery(port), check=check))
                await asyncio.wait_for(connected.wait(), 5)
                return results

        assert asyncio.run(main()) == [fenced]
        assert list(self.identity(seen)) == []

    def test_another_try_is_recognisable_p4(self) -> None:
        seen: list[bytes] = []
        self.play(self.answers[0][0], times=2, seen=seen)
        first, second = self.identity(seen)
        assert first == second != b""

    def test_no_error_repr_or_log_shows_a_secret_or_a_full_address_p10(
        self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        port = find_free_port()
        results = [result for answer, _ in self.answers for result in self.play(answer)]
        results += [*self.play(Act.CUT), *self.play(Act.SILENT, seconds=0.2)]
        results += asyncio.run(send(self.channel(port), self.delivery(port), *self.bad_addresses(port)))
        shown = [repr(self.channel(port)), repr(vars(self.channel(port))), repr(self.delivery(port))]
        for result in results:
            shown.append(repr(result))
            if isinstance(result, DeliveryError):
                shown += [str(result), result.detail, "".join(traceback.format_exception(result))]
        shown += [*capsys.readouterr(), caplog.text]
        assert len([result for result in results if isinstance(result, DeliveryError)]) >= 5
        for secret in self.hidden:
            assert [text for text in shown if secret in text] == [], f"{secret} is shown"

    def test_closing_ends_every_connection_and_may_be_repeated(self) -> None:
        async def main() -> None:
            ended = asyncio.Event()
            inner = self.handler(self.answers[0][0], [])

            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await inner(reader, writer)
                ended.set()

            async with serving(handle) as port:
                channel = self.channel(port)
                await channel.open()
                await channel.send(self.delivery(port))
                assert not ended.is_set(), "a good connection is held"
                await channel.close()
                await asyncio.wait_for(ended.wait(), 5)
                await channel.close()

        asyncio.run(main())

    def test_many_sends_at_once_each_get_their_own_answer(self) -> None:
        async def main() -> list[Receipt]:
            async with serving(self.handler(self.answers[0][0], [])) as port:
                channel = self.channel(port)
                await channel.open()
                try:
                    return list(await asyncio.gather(*(channel.send(self.delivery(port)) for _ in range(25))))
                finally:
                    await channel.close()

        assert len(asyncio.run(main())) == 25


def _outcome(error: DeliveryError) -> AttemptOutcome:
    return after_error(error, ChannelName.EMAIL, 1, None, NOW, 0.5).outcome


Make = Callable[[int], Delivery]

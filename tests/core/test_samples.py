"""The samples cover what senders may write: every type, in full and in the barest form."""

from __future__ import annotations

import pytest

from notifier.core import links, samples
from notifier.core.event_data import DATA_MODELS
from notifier.core.model import ChannelName, EventType


@pytest.mark.parametrize("type_", EventType, ids=lambda type_: type_.kind)
def test_the_first_sample_of_a_type_leaves_out_no_field_a_reader_would_see(type_: EventType) -> None:
    hidden = {"extra", "image", "cases", "value", "paused", "sales_rep", "unit", "title", "purity_percentage"}
    hidden |= {"empty_facings", "total_facings", "updated_at", "closed_at", "asset", "reason"}
    first = samples.DATA[type_][0]
    assert set(DATA_MODELS[type_].model_fields) - hidden <= set(first)


@pytest.mark.parametrize("type_", EventType, ids=lambda type_: type_.kind)
def test_sample_links_are_those_that_real_messages_of_the_type_carry(type_: EventType) -> None:
    for sample in samples.facts(type_):
        message = samples.message(sample, ChannelName.EMAIL)
        possible = {purpose.value for purpose in links._wanted(sample)}
        assert set(message.context["links"]) - {"image"} <= possible
        assert possible <= set(message.context["links"])


def test_an_sms_carries_one_link_and_a_callback_none() -> None:
    for type_ in EventType:
        for sample in samples.facts(type_):
            assert len(samples.message(sample, ChannelName.SMS).context["links"]) <= 1
            assert samples.message(sample, ChannelName.CALLBACK).context["links"] == {}


def test_every_type_is_sampled_with_and_without_links_on_every_channel() -> None:
    made = [(message.kind, message.channel, bool(message.context["links"])) for message in samples.messages()]
    kinds = {type_.kind for type_ in EventType}
    assert {kind for kind, channel, linked in made if channel is ChannelName.EMAIL and not linked} == kinds
    closed = {"alert_closed", "order_withdrawn", "order_decided"}
    assert {kind for kind, channel, linked in made if channel is ChannelName.SMS and linked} == kinds - closed

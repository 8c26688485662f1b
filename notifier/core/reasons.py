"""Why somebody was not told, in plain words: what `explain` prints for each Suppression. Values only."""

from __future__ import annotations

from collections.abc import Mapping

from notifier.core.model import Suppression

WHY: Mapping[Suppression, str] = {
    Suppression.NOT_IN_PLAN: "text messages are not in this tenant's plan (`sms = true` in notifier.toml)",
    Suppression.NO_ADDRESS: "the directory has no address of this person for this channel",
    Suppression.BAD_ADDRESS: "the address cannot be written to: it is not a valid one",
    Suppression.COUNTRY_NOT_ALLOWED: (
        "the number is in a country that is not allowed (`countries` in notifier.toml; without it, the countries of "
        "the tenant's outlets)"
    ),
    Suppression.PREMIUM_NUMBER: "premium-rate numbers are never written to",
    Suppression.OPTED_OUT: "the address asked for no more messages, or bounced for good",
    Suppression.INACTIVE: "the directory says that this person is not active",
    Suppression.NOBODY_IN_ROLE: "nobody has this role at the outlet",
    Suppression.UNKNOWN_OUTLET: "the outlet is not in the directory, so nobody is known there",
    Suppression.NOT_TOLD_OF_OPENING: "was not told of the beginning, so does not hear of the end",
    Suppression.UPDATES_NOT_WANTED: "people hear of updates only where the rule has `updates = true`",
    Suppression.DUPLICATE_ADDRESS: "already told by another rule or role: one person gets one message",
    Suppression.CHANNEL_NOT_WANTED: "this person does not want messages by this channel",
    Suppression.ENDPOINT_FILTER: "the endpoint's `types` leave this event type out",
    Suppression.ENDPOINT_DISABLED: "the endpoint is switched off, asked to be left alone, or is configured no more",
    Suppression.NO_RULE: "no rule matched and there is no default route, so nobody was told",
    Suppression.TOO_LATE: "too late: the event or the order's deadline was past its useful life",
    Suppression.UNDONE: "the decision was taken back before it was final, and this endpoint hears of final ones only",
}

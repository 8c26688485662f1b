"""Rows that go as one text come out as they went in, whatever is in them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.core.model import CarriedRecipient, ChannelName
from notifier.core.records import SubjectState
from notifier.errors import StoreError
from notifier.store import SqlStore
from notifier.testing import ACME, SOURCE, event

AWKWARD = "quotes \" ' and \\ and %(rows)s and %s and \u2028 and \U0001f964 and é"


def test_awkward_texts_are_kept_as_they_are(store: SqlStore) -> None:
    people = (CarriedRecipient(ChannelName.EMAIL, "eve@example.com", AWKWARD, None),)
    sent = [
        replace(event(), source_id=AWKWARD, subject=AWKWARD, data={"text": [AWKWARD, None, 1.5, True]}),
        replace(event(), source_id="second", sequence=2, recipients=people, outlet=None, key_id=None),
    ]
    with store.write() as tx:
        tx.save_events(sent)
        assert [tx.event(ACME, one.id) for one in sent] == sent
        assert tx.known_events(ACME, [(SOURCE, AWKWARD)]) == {(SOURCE, AWKWARD): (sent[0].id, sent[0].content_hash)}


def test_many_subjects_are_replaced_and_created_by_one_call(store: SqlStore) -> None:
    states = [SubjectState(ACME, f"{AWKWARD} {number}", SOURCE, 1, {"text": AWKWARD}) for number in range(1000)]
    with store.write() as tx:
        tx.save_subjects(states[:500])
        tx.save_subjects([replace(state, sequence=2) for state in states])
        found = tx.subject_states(ACME, [state.subject for state in states])
    assert {state.sequence for state in found.values()} == {2}
    assert found[states[0].subject].state == {"text": AWKWARD}
    assert len(found) == 1000


def test_a_row_that_exists_refuses_the_whole_call_and_says_so(store: SqlStore) -> None:
    with store.write() as tx:
        tx.save_events([event(source_id="once")])
    with pytest.raises(StoreError) as error, store.write() as tx:
        tx.save_events([event(source_id="other", sequence=5), event(source_id="once", sequence=6)])
    assert (error.value.conflict, error.value.refused) == (True, True)
    with store.read() as tx:
        assert tx.known_events(ACME, [(SOURCE, "other")]) == {}

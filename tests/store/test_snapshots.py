"""A reading transaction sees one moment, whatever is committed meanwhile: pages join what they read in steps."""

from __future__ import annotations

from notifier.store import SqlStore
from notifier.testing import ACME, NOW, event


def test_what_is_committed_while_somebody_reads_is_not_half_seen(store: SqlStore) -> None:
    before, meanwhile = event(ACME, subject="order/1"), event(ACME, subject="order/2")
    with store.write() as tx:
        tx.save_events([before])
    with store.read() as reading:
        assert reading.event(ACME, before.id) is not None
        with store.write() as tx:
            tx.save_events([meanwhile])
            tx.mark_routed([before.id], NOW)
        assert reading.event(ACME, meanwhile.id) is None
    with store.read() as reading:
        assert reading.event(ACME, meanwhile.id) is not None

"""Many short stories of one deployment, told at random against the short model of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from notifier.store import SqlStore, open_store
from tests.model.machine import Machine
from tests.stores import copies

MakeStore = Callable[[], SqlStore]
STORIES = {"sqlite": 60, "postgresql": 10}


@pytest.fixture(params=sorted(STORIES, reverse=True))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_store(kind: str, request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """Makes a fresh, migrated store for each story."""
    with copies(request, kind) as make:
        yield lambda: open_store(make())


@pytest.mark.timeout(300)
def test_whatever_happens_in_whatever_order_the_promises_hold_p1_to_p6(kind: str, make_store: MakeStore) -> None:
    """MODEL_STORIES=2000 tells more of them; a failure prints the blob that tells it again."""
    run_state_machine_as_test(
        lambda: Machine(make_store),  # type: ignore[arg-type]  # any factory does, says its documentation
        settings=settings(
            max_examples=int(os.environ.get("MODEL_STORIES", STORIES[kind])),
            stateful_step_count=40,
            deadline=None,
            derandomize="CI" in os.environ,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )

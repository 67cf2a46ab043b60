"""Who makes what, where several jobs want the same cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from nstcore.store.cells import Store
from nstcore.store.claims import ClaimQueue, Claims

KEYS = [letter * 64 for letter in "abcd"]
A, B, C, D = KEYS


class Job:
    """A job of a store in which it finds what others have finished."""

    def __init__(self, store: Store, finished: set[str]) -> None:
        self.claims = Claims(store)
        self.linked: list[str] = []
        self.told: list[str] = []
        self._finished = finished
        self.turns = ClaimQueue(self.claims, self._made, self.told.append)

    def _made(self, key: str) -> bool:
        if key in self._finished:
            self.linked.append(key)
        return key in self._finished


@pytest.fixture
def jobs(tmp_path: Path) -> tuple[Job, Job, set[str]]:
    finished: set[str] = set()
    store = Store(tmp_path)
    return Job(store, finished), Job(store, finished), finished


def test_what_nobody_else_wants_is_made_at_once(jobs: tuple[Job, Job, set[str]]) -> None:
    one, _, finished = jobs
    finished.add(B)
    assert one.turns.ask(KEYS) == ([A, C, D], [])
    assert one.linked == [B]
    assert one.turns.ask([C, D]) == ([C, D], []), "such as the half of a batch that was too large"


def test_all_or_none_at_first_and_then_what_is_free(jobs: tuple[Job, Job, set[str]]) -> None:
    one, other, finished = jobs
    assert one.turns.ask([B, C]) == ([B, C], [])
    assert other.turns.ask([C, B]) == ([], [C, B])
    assert other.turns.ask([A, C, D]) == ([A, D], [C])
    assert other.told == [], "it has something to do"
    finished.update([B, C])
    assert other.turns.ask([C]) == ([], []), "it stands in the store, claimed or not"
    assert other.linked == [C]


def test_a_batch_of_which_one_cell_is_made_elsewhere_waits_once(
    jobs: tuple[Job, Job, set[str]],
) -> None:
    one, other, finished = jobs
    one.turns.ask([B])
    assert other.turns.ask([A, B]) == ([], [A, B])
    one.claims.release([B])
    one.turns.ask([A])
    assert other.turns.ask([A, B]) == ([B], [A]), "whatever is held by now"
    finished.add(B)
    assert other.turns.ask([A]) == ([], [A])
    assert len(other.told) == 1


def test_who_can_do_nothing_says_so_once(
    jobs: tuple[Job, Job, set[str]], caplog: pytest.LogCaptureFixture
) -> None:
    one, other, _ = jobs
    one.turns.ask(KEYS)
    for _ in range(3):
        assert other.turns.ask(KEYS) == ([], KEYS)
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.getMessage().endswith("which makes 4 of the same cells")
    assert len(other.told) == 2


def test_what_is_finished_between_the_question_and_the_claim_is_not_made_again(
    jobs: tuple[Job, Job, set[str]],
) -> None:
    one, _, finished = jobs
    take = one.claims.take

    def late(keys: list[str], *, whole: bool) -> dict[str, str]:
        finished.add(B)
        return take(keys, whole=whole)

    one.claims.take = late  # type: ignore[method-assign, assignment]
    assert one.turns.ask([A, B]) == ([A], [])
    assert one.linked == [B]

"""Claims about the order in which cells are dealt: batches of half a second, and suspects alone."""

from bench.experiments.engine.deal import BATCH_SECONDS, Deal
from bench.experiments.engine.work import Outcome, Task

TASKS = [Task(number, {}) for number in range(1000)]


def numbers(batch: list[Task]) -> list[int]:
    return [task.number for task in batch]


def test_the_first_batch_is_one_cell_and_the_next_take_about_half_a_second() -> None:
    deal = Deal(TASKS, 3)
    assert numbers(deal.take(2)) == [0]
    deal.done([Outcome(0, {}, None, seconds=0.01)])
    assert len(deal.take(2)) == round(BATCH_SECONDS / 0.01)
    deal.done([Outcome(1, {}, None, seconds=10.0)])
    assert len(deal.take(2)) == 1


def test_all_cells_are_dealt_once_in_order_and_the_last_ones_to_all_workers() -> None:
    deal, dealt, sizes = Deal(TASKS, 3), list[int](), list[int]()
    while deal:
        batch = deal.take(4)
        deal.done([Outcome(task.number, {}, None, seconds=1e-9) for task in batch])
        dealt += numbers(batch)
        sizes.append(len(batch))
    assert dealt == list(range(1000))
    assert max(sizes) > 100
    assert sizes[-4:] == [1, 1, 1, 1]


def test_cells_whose_worker_died_come_alone_and_at_once_and_an_innocent_one_loses_nothing() -> None:
    deal = Deal(TASKS[:10], 2)
    deal.done([Outcome(0, {}, None, seconds=0.01)])
    batch = deal.take(1)
    assert numbers(batch) == [0, 1, 2, 3, 4]
    assert deal.lost(batch, "SIGKILL") == []
    assert [numbers(deal.take(1)) for _ in batch] == [[0], [1], [2], [3], [4]]
    assert deal.lost([TASKS[3]], "SIGKILL") == []
    assert numbers(deal.take(1)) == [3]
    (failed,) = deal.lost([TASKS[3]], "SIGSEGV")
    assert (failed.number, failed.values) == (3, None)
    assert "SIGSEGV" in str(failed.reason)
    assert numbers(deal.take(1))[0] == 5

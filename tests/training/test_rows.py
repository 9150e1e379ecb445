"""The rows of a stage come in an order that is reproducible, and rows of like length meet in a batch."""

from itertools import pairwise

from forge_core.data.schema import Example, Turn
from forge_core.training.rows import LengthGrouped, Rows


def make_rows(count: int) -> Rows:
    rows = Rows()
    for number in range(count):
        turns = [Turn(instruction="Save", actions=["click(x=0.5, y=0.5)"])] * (1 + number % 3)
        example = Example(id=str(number), source="s", platform="web", image="a.png", width=9, height=9, turns=turns)
        rows.add(example, 100 + 37 * number % 1000)
    return rows


def test_a_row_comes_back_as_it_was():
    rows = make_rows(4)
    assert len(rows) == 4 and rows.turns == 1 + 2 + 3 + 1
    assert rows[2].id == "2" and len(rows[2].turns) == 3


def test_an_epoch_has_every_row_once_and_depends_on_seed_and_epoch_alone():
    rows = make_rows(500)
    orders = []
    for seed, epoch in ((1, 0), (1, 1), (2, 0), (1, 0)):
        sampler = LengthGrouped(rows, 8, seed)
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(500))
    assert orders[0] == orders[3] and orders[0] != orders[1] and orders[0] != orders[2]


def test_rows_of_a_batch_have_like_lengths():
    rows = make_rows(500)
    order = list(LengthGrouped(rows, 8, 1))
    batches = [[rows.lengths[index] for index in order[start : start + 8]] for start in range(0, 500, 8)]
    padding = sum(max(batch) * len(batch) - sum(batch) for batch in batches)
    assert padding < 0.1 * sum(rows.lengths)


def test_the_longest_row_comes_first_and_the_groups_after_it_in_no_order_of_length():
    rows = make_rows(4000)
    order = list(LengthGrouped(rows, 8, 1))
    assert max(rows.lengths) in [rows.lengths[index] for index in order[:8]]
    means = [sum(rows.lengths[index] for index in order[start : start + 8]) / 8 for start in range(8, 4000, 8)]
    falling = sum(after < before for before, after in pairwise(means))
    assert 0.4 < falling / (len(means) - 1) < 0.6  # sorted by fifties it is nearly 1

"""What every regime trains on at every iteration, row by row of its table."""

from typing import Any

import pytest

from selfloop.config import models
from selfloop.data.regimes import BUILT_IN, REAL, Regime, Source, Take, TrainingSet, from_config, training_set


def takes(regime: Regime, iteration: int) -> list[tuple[int, int, float]]:
    """(iteration, part, amount) of each take."""
    return [(take.iteration, take.part, take.amount) for take in training_set(regime, iteration).takes]


def mine(*parts: dict[str, Any], **rest: Any) -> Regime:
    return from_config("mine", models.Regime.model_validate({"parts": list(parts), **rest}))


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_first_iteration_is_trained_on_the_real_rows_alone(name: str) -> None:
    assert training_set(BUILT_IN[name], 1) == TrainingSet((Take(REAL),), budget=None)


def test_replace_takes_part_0_of_the_model_before() -> None:
    assert [takes(BUILT_IN["replace"], n) for n in (2, 3, 7)] == [[(1, 0, 1.0)], [(2, 0, 1.0)], [(6, 0, 1.0)]]


def test_accumulate_takes_the_real_rows_and_part_0_of_every_model_so_far() -> None:
    assert takes(BUILT_IN["accumulate"], 2) == [(REAL, 0, 1.0), (1, 0, 1.0)]
    assert takes(BUILT_IN["accumulate"], 4) == [(REAL, 0, 1.0), (1, 0, 1.0), (2, 0, 1.0), (3, 0, 1.0)]


def test_replace_multiple_takes_as_many_parts_of_the_model_before_as_the_iteration_says() -> None:
    assert takes(BUILT_IN["replace-multiple"], 2) == [(1, 0, 1.0), (1, 1, 1.0)]
    assert takes(BUILT_IN["replace-multiple"], 4) == [(3, part, 1.0) for part in range(4)]


def test_replace_multiple_has_as_many_rows_as_accumulate() -> None:
    for iteration in range(1, 9):
        sizes = {
            sum(amount for *_, amount in takes(BUILT_IN[name], iteration))
            for name in ("accumulate", "replace-multiple")
        }
        assert sizes == {float(iteration)}


def test_accumulate_subsample_has_the_table_of_accumulate_and_a_budget_of_the_real_rows() -> None:
    for iteration in (2, 5):
        subsampled = training_set(BUILT_IN["accumulate-subsample"], iteration)
        assert subsampled.takes == training_set(BUILT_IN["accumulate"], iteration).takes
        assert subsampled.budget == 1.0


def test_an_amount_is_one_part_by_default() -> None:
    assert takes(mine({"from": "previous"}), 3) == [(2, 0, 1.0)]


def test_a_fraction_is_whole_parts_and_a_share_of_one_more() -> None:
    assert takes(mine({"from": "previous", "amount": 2.5}), 3) == [(2, 0, 1.0), (2, 1, 1.0), (2, 2, 0.5)]
    assert takes(mine({"from": "previous", "amount": 0.25}), 3) == [(2, 0, 0.25)]


def test_a_sum_of_fractions_that_is_whole_but_for_rounding_is_whole() -> None:
    assert 0.3 / 0.1 < 3 < 1.1 + 2.2 - 0.3
    assert takes(mine({"from": "previous", "amount": 0.3 / 0.1}), 2) == [(1, part, 1.0) for part in range(3)]
    assert takes(mine({"from": "previous", "amount": 1.1 + 2.2 - 0.3}), 2) == [(1, part, 1.0) for part in range(3)]


def test_all_takes_the_amount_of_every_model_so_far() -> None:
    assert takes(mine({"from": "all", "amount": 1.5}), 3) == [(1, 0, 1.0), (1, 1, 0.5), (2, 0, 1.0), (2, 1, 0.5)]


def test_an_amount_of_the_real_rows_is_repetitions_of_their_one_data_set_and_a_share_of_it() -> None:
    assert takes(mine({"from": "real", "amount": 0.5}), 2) == [(REAL, 0, 0.5)]
    assert takes(mine({"from": "real", "amount": 2.5}), 2) == [(REAL, 0, 1.0), (REAL, 0, 1.0), (REAL, 0, 0.5)]
    table = mine({"from": "real", "amount": [0.5, 2.0]}, {"from": "previous"})
    assert takes(table, 2) == [(REAL, 0, 0.5), (1, 0, 1.0)]
    assert takes(table, 3) == [(REAL, 0, 1.0), (REAL, 0, 1.0), (2, 0, 1.0)]


def test_the_control_real_takes_the_real_rows_at_every_iteration() -> None:
    assert [takes(BUILT_IN["real"], n) for n in (1, 2, 7)] == [[(REAL, 0, 1.0)]] * 3


def test_the_control_real_multiple_has_as_many_rows_as_accumulate_and_all_of_them_real() -> None:
    for iteration in (1, 2, 5):
        assert takes(BUILT_IN["real-multiple"], iteration) == [(REAL, 0, 1.0)] * iteration
        rows = {training_set(BUILT_IN[name], iteration).rows(64) for name in ("accumulate", "real-multiple")}
        assert rows == {64 * iteration}


def test_a_control_is_a_regime_without_a_synthetic_row() -> None:
    assert [name for name, regime in BUILT_IN.items() if regime.control] == ["real", "real-multiple", "all-fresh"]
    assert mine({"from": "real"}, {"from": "previous", "amount": 0}, {"from": "all", "by_age": [0, 0]}).control
    assert not mine({"from": "real"}, {"from": "previous", "amount": [0, 1]}).control
    assert mine({"from": "real", "amount": [0.5, 3.0]}).control
    assert not mine({"from": "real"}, {"from": "previous", "amount": 0.1}).control


def test_lines_are_concatenated_in_their_order() -> None:
    table = mine({"from": "previous"}, {"from": "real", "amount": 0.1})
    assert takes(table, 2) == [(1, 0, 1.0), (REAL, 0, 0.1)]


def test_a_schedule_counts_from_iteration_2_and_repeats_its_last_number() -> None:
    table = mine({"from": "previous", "amount": [1.0, 2.0, 0.5]})
    assert takes(table, 1) == [(REAL, 0, 1.0)]
    assert takes(table, 2) == [(1, 0, 1.0)]
    assert takes(table, 3) == [(2, 0, 1.0), (2, 1, 1.0)]
    assert takes(table, 4) == [(3, 0, 0.5)]
    assert takes(table, 9) == [(8, 0, 0.5)]


def test_the_amount_iteration_is_the_iteration() -> None:
    assert [Source("previous", "iteration").amount_at(n) for n in (2, 3, 10)] == [2.0, 3.0, 10.0]


def test_a_budget_stands_from_the_second_iteration_on() -> None:
    table = mine({"from": "real"}, {"from": "all"}, budget=2.0)
    assert [training_set(table, n).budget for n in (1, 2, 3)] == [None, 2.0, 2.0]


def test_a_users_table_like_a_built_in_one_gives_the_same_training_sets() -> None:
    table = mine({"from": "real"}, {"from": "all", "amount": 1})
    for iteration in range(1, 6):
        assert training_set(table, iteration) == training_set(BUILT_IN["accumulate"], iteration)


@pytest.mark.parametrize("iteration", [0, -1])
def test_iterations_count_from_1(iteration: int) -> None:
    with pytest.raises(ValueError, match=f"count from 1, not {iteration}"):
        training_set(BUILT_IN["replace"], iteration)


def test_the_rows_of_a_training_set_are_known_from_those_of_the_real_data() -> None:
    assert [training_set(BUILT_IN["accumulate"], n).rows(64) for n in (1, 2, 5)] == [64, 128, 320]
    assert training_set(BUILT_IN["accumulate-subsample"], 5).rows(64) == 64
    assert training_set(mine({"from": "previous", "amount": 0.1}), 2).rows(64) == 6
    assert training_set(mine({"from": "all", "amount": 0.1}, {"from": "real"}, budget=0.5), 2).rows(64) == 32


def test_fresh_rows_are_the_next_ones_of_the_reserve_at_every_iteration() -> None:
    table = mine({"from": "fresh", "amount": 0.1}, {"from": "previous", "amount": 0.9})
    fresh = [training_set(table, n).takes[0] for n in (2, 3, 5)]
    assert fresh == [Take(REAL, amount=0.1, skip=skip, fresh=True) for skip in (0.0, 0.1, 0.3)]


@pytest.mark.parametrize("amount", [0.1, 0.17, 1, 2.5, "iteration", [0, 0.5, 1], [1, 0]])
def test_no_two_iterations_and_no_two_lines_take_the_same_fresh_rows(amount: Any) -> None:
    table = mine({"from": "fresh", "amount": amount}, {"from": "fresh", "amount": 0.3}, {"from": "previous"})
    taken = [take for n in range(2, 9) for take in training_set(table, n).takes if take.fresh]
    real = 64
    rows = [row for take in taken for row in range(round(take.skip * real), round((take.skip + take.amount) * real))]
    assert rows == list(range(len(rows)))
    assert len(rows) == sum(take.rows(real) for take in taken) == round(table.reserve(8) * real)


def test_all_fresh_needs_a_reserve_of_as_many_train_splits_as_there_are_later_iterations() -> None:
    assert [BUILT_IN["all-fresh"].reserve(n) for n in (1, 2, 6)] == [0.0, 1.0, 5.0]
    assert BUILT_IN["replace"].reserve(6) == 0.0
    assert mine({"from": "fresh", "amount": "iteration"}).reserve(4) == 2.0 + 3.0 + 4.0


def test_the_same_rows_are_drawn_where_a_line_says_so_and_only_of_fractions() -> None:
    table = mine({"from": "real", "amount": 1.5, "rows": "same"}, {"from": "previous", "amount": 0.5})
    assert [take.same for take in training_set(table, 3).takes] == [False, True, False]


def test_a_window_takes_the_parts_of_the_last_models() -> None:
    table = mine({"from": "all", "last": 3})
    assert takes(table, 2) == [(1, 0, 1.0)]
    assert takes(table, 4) == [(1, 0, 1.0), (2, 0, 1.0), (3, 0, 1.0)]
    assert takes(table, 7) == [(4, 0, 1.0), (5, 0, 1.0), (6, 0, 1.0)]


def test_amounts_by_age_count_from_the_newest_model_and_repeat_the_last_one() -> None:
    table = mine({"from": "all", "by_age": [2, 0.5, 0, 0.25]})
    assert takes(table, 2) == [(1, 0, 1.0), (1, 1, 1.0)]
    assert takes(table, 4) == [(2, 0, 0.5), (3, 0, 1.0), (3, 1, 1.0)]
    assert takes(table, 7)[:3] == [(1, 0, 0.25), (2, 0, 0.25), (3, 0, 0.25)]


def test_a_window_cuts_amounts_by_age() -> None:
    assert takes(mine({"from": "all", "by_age": [1, 0.5], "last": 2}), 6) == [(4, 0, 0.5), (5, 0, 1.0)]


def test_an_amount_of_0_takes_nothing() -> None:
    rescue = mine({"from": "fresh", "amount": [0, 0, 0.5]}, {"from": "previous"})
    assert [len(training_set(rescue, n).takes) for n in (2, 3, 4)] == [1, 1, 2]
    assert training_set(rescue, 4).takes[0] == Take(REAL, amount=0.5, fresh=True)
    assert rescue.reserve(5) == 1.0


def test_weights_are_those_of_their_lines() -> None:
    golden = mine({"from": "fresh", "weight": 0.618}, {"from": "previous", "weight": 0.382})
    assert [take.weight for take in training_set(golden, 3).takes] == [0.618, 0.382]
    assert golden.weighted


def test_weights_that_are_all_alike_are_1() -> None:
    alike = mine({"from": "real", "weight": 2}, {"from": "all", "weight": 2})
    assert training_set(alike, 4) == training_set(BUILT_IN["accumulate"], 4)
    assert not alike.weighted


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("extra", [{}, {"last": 2}, {"by_age": [2, 0.5, 0]}, {"by_age": [1.5], "last": 4}])
def test_data_sets_are_counted_without_being_listed(name: str, extra: dict[str, Any]) -> None:
    table = Regime("mine", (*BUILT_IN[name].sources, *mine({"from": "all", **extra}).sources))
    for iteration in range(2, 9):
        assert sum(source.pieces(iteration) for source in table.sources) == len(training_set(table, iteration).takes)

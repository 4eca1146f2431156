"""A grid of regimes stands for a regime at each of its points."""

from typing import Any

import pytest

from selfloop.data import regimes
from selfloop.data.regimes import Source
from selfloop.errors import UserError
from selfloop.planning.check import Checked, check
from selfloop.planning.rules import plan_study

MIX: dict[str, Any] = {
    "grid": {"a": [0.1, 0.5, 1], "b": [0, 4]},
    "parts": [{"from": "real", "amount": "a"}, {"from": "previous", "amount": "b"}],
}
NAMES = ["mix-a0.1-b0", "mix-a0.1-b4", "mix-a0.5-b0", "mix-a0.5-b4", "mix-a1-b0", "mix-a1-b4"]


def study(grid: dict[str, Any] = MIX, names: Any = ("mix", "replace"), **keys: Any) -> dict[str, Any]:
    entry = {"domain": "linear", "data": {"dimension": 2, "rows": 8}, "regimes": list(names), "iterations": 3}
    return {"experiments": {"a": {**entry, "seeds": [0], **keys}}, "regimes": {"mix": grid}}


def message(config: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        check(config)
    return str(caught.value)


def sources(checked: Checked, name: str) -> tuple[Source, ...]:
    return checked.regimes[name].sources


def test_an_experiment_has_a_regime_for_every_point() -> None:
    checked = check(study())
    assert checked.experiments["a"].regimes == [*NAMES, "replace"]
    assert sources(checked, "mix-a0.5-b4") == (Source("real", 0.5), Source("previous", 4))
    assert list(checked.grids) == ["mix"]
    assert checked.grids["mix"].points["mix-a0.1-b4"] == {"a": 0.1, "b": 4}


def test_a_point_is_the_regime_that_its_table_says() -> None:
    written = {"parts": [{"from": "real", "amount": 0.5}, {"from": "previous", "amount": 4}]}
    built = [plan_study(study(names=["mix-a0.5-b4"])), plan_study(study(written, names=["mix"]))]
    assert built[0].models.keys() == built[1].models.keys()


def test_variables_stand_in_place_of_any_number() -> None:
    table = {
        "grid": {"k": [2], "w": [0.5], "x": [0, 3], "y": [1.5]},
        "parts": [
            {"from": "all", "last": "k", "by_age": [1, "x"], "weight": "w"},
            {"from": "real", "amount": ["x", 1]},
        ],
        "budget": "y",
    }
    checked = check(study(table, names=["mix"]))
    regime = checked.regimes["mix-k2-w0.5-x3-y1.5"]
    assert regime.sources == (Source("all", 1.0, 2, (1, 3), 0.5), Source("real", (3, 1)))
    assert regime.budget == 1.5


def test_a_grid_has_numbers_of_iterations_as_a_regime_does() -> None:
    checked = check(study(iterations={"mix": 4, "replace": 2}))
    assert [checked.experiments["a"].iterations_of(name) for name in ("mix-a1-b0", "replace")] == [4, 2]


def test_a_point_without_synthetic_rows_is_a_control() -> None:
    checked = check(study())
    assert [name for name in NAMES if checked.regimes[name].control] == ["mix-a0.1-b0", "mix-a0.5-b0", "mix-a1-b0"]


def test_there_is_a_figure_for_every_grid_of_a_study() -> None:
    plan = plan_study(study())
    (shown,) = [entry for entry in plan.shows.entries if entry.rule == "plot_grid"]
    assert shown.names("figures") == ["linear-grid-mix"]
    assert not [entry for entry in plan_study(study(names=NAMES[:2])).shows.entries if entry.rule == "plot_grid"]


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({**MIX, "grid": {}}, "regimes.mix.grid: {} is not allowed: at least 1 entry needed"),
        ({**MIX, "grid": {"a": []}}, "regimes.mix.grid.a: [] is not allowed: at least 1 entry needed"),
        ({**MIX, "grid": {"a": [1, 1]}}, "regimes.mix.grid.a: [1, 1] is not allowed: 1.0 is in it twice"),
        ({**MIX, "grid": {"a": [-1]}}, "regimes.mix.grid.a[0]: -1 is not allowed: it must be at least 0"),
        ({**MIX, "grid": {"A": [1]}}, "regimes.mix.grid: 'A' cannot be a name. Allowed: Small letters."),
        (
            {**MIX, "grid": {**MIX["grid"], "c": [1]}},
            "regimes.mix.grid.c: no part uses it; write c in place of a number.",
        ),
        ({**MIX, "grid": {"a": [1]}}, "regimes.mix-a1.parts[1].amount: 'b' is not allowed"),
        ({**MIX, "grid": {"a": [0.1, 0.1 + 1e-12], "b": [1]}}, "names of regimes have 6 digits of a number"),
        (
            {**MIX, "grid": {"a": list(range(1, 600)), "b": [1, 2]}},
            "regimes.mix.grid: 1,198 points are more regimes than",
        ),
    ],
)
def test_what_is_wrong_with_a_grid_is_said_in_one_message(grid: dict[str, Any], expected: str) -> None:
    assert expected in message(study(grid, names=["mix"]))


def test_two_regimes_of_one_name_are_refused() -> None:
    config = study()
    config["regimes"]["mix-a1-b0"] = {"parts": [{"from": "real"}]}
    assert message(config) == "regimes.mix.grid: 'mix-a1-b0', one of its regimes, is another one's name."


def test_an_unknown_regime_is_compared_with_grids_and_their_regimes() -> None:
    assert "did you mean 'mix-a1-b4'" in message(study(names=["mix-a1-b44"]))
    assert regimes.BUILT_IN.keys() <= check(study()).regimes.keys()

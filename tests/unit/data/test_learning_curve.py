"""A training's learning curve as a tidy table."""

from pathlib import Path

import pyarrow.parquet as pq

from selfloop.data.learning_curve import of_validation, write_curve


def test_values_are_of_the_split_that_they_were_measured_on(tmp_path: Path) -> None:
    point = {"step": 4, "epoch": 0.5, "loss": 1.0, "total_loss": 2.0, **of_validation({"total_loss": 3.0})}
    write_curve([point], tmp_path / "curve.parquet")
    rows = pq.read_table(tmp_path / "curve.parquet").to_pylist()
    found = [(row["split"], row["metric"], row["value"]) for row in rows]
    assert found == [("train", "loss", 1.0), ("test", "total_loss", 2.0), ("validation", "total_loss", 3.0)]
    assert {(row["step"], row["epoch"]) for row in rows} == {(4, 0.5)}

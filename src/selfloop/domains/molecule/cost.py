"""The cost of jobs of a molecule diffusion. FLOPs are those of linear layers, over the atoms and pairs of a
molecule."""

from pathlib import Path

from selfloop.data.validation import watches
from selfloop.domains.cost import Effort, Work, prepared_shards, unknown_size, watched_rows
from selfloop.domains.molecule.config import Data, Model, Sampling, Training
from selfloop.domains.molecule.domain import parameter_count
from selfloop.domains.molecule.model.evaluation import (
    LEARNING_CURVE_DRAWS,
    LEARNING_CURVE_ROWS,
    SCORE_LEVELS,
    TEST_DRAWS,
)

# Atoms of a typical molecule, hydrogens included: GEOM's drugs have 44.4 (Axelrod & Gómez-Bombarelli 2022, Table 1).
ATOMS = 44.4
# Pairs at most three bonds apart, per atom; measured 4.9 in the packaged molecules and 5.1 in drugs, of whose pairs 98%
# and 94% are closer than 10 Å.
LOCAL_PAIRS = 5.0
# In zstd shards; measured on the same: 19 and 10.
BYTES_PER_ATOM = 12


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> Effort[Training, Sampling]:
    """The cost of each job of an experiment.

    Args:
        data, model: the experiment's sections.
        real: the folder of the prepared data, which may not exist yet.
        rows: train rows of a data set of otherwise unknown size.

    Raises:
        UserError: the size of the data is unknown.
    """
    return effort_of(data, model, *rows_of(data, real, rows))


def effort_of(
    data: Data, model: Model, train_rows: float, test_rows: float, atoms: float, assumed: tuple[str, ...] = ()
) -> Effort[Training, Sampling]:
    """The same, of data whose size is known."""
    forward = forward_flops(model, atoms)
    written = BYTES_PER_ATOM * atoms
    watched = min(watched_rows(data.validation_fraction, train_rows, test_rows), LEARNING_CURVE_ROWS)
    evaluated = min(test_rows, LEARNING_CURVE_ROWS)

    def train(training: Training, amount: float) -> Work:
        seen = float(training.steps * training.batch_size)  # whatever the training set's size
        curve = (evaluated + watches(training) * watched) * LEARNING_CURVE_DRAWS
        flops = (3 * seen + training.evaluations * curve) * forward
        return Work(seen, flops, 4 * parameter_count(model))

    def generate(sampling: Sampling) -> Work:
        steps = model.timesteps if sampling.schedule == "all" else sampling.steps
        return Work(train_rows, train_rows * steps * forward, train_rows * written)

    return Effort(
        unit="conformations",
        row=1.0,
        data=Work(bytes=(train_rows * (1 + data.reserve) + test_rows) * written),
        train=train,
        generate=generate,
        evaluate_model=Work(TEST_DRAWS * test_rows, TEST_DRAWS * test_rows * forward),
        evaluate_part=lambda sampling, first: Work(train_rows),
        score=lambda sampling: Work(train_rows, 2 * SCORE_LEVELS * train_rows * forward),
        assumed=(
            *assumed,
            f"All pairs of atoms are within the cutoff; {LOCAL_PAIRS} per atom are at most three bonds apart.",
            "Comparing sampled with real conformations takes seconds to minutes and counts as no work.",
        ),
    )


def forward_flops(model: Model, atoms: float) -> float:
    """FLOPs of the forward pass over one molecule; the layers are those of `network.GeoDiff`."""
    hidden, pairs = model.hidden_size, atoms * (atoms - 1) / 2
    local = min(pairs, LOCAL_PAIRS * atoms)
    encoder = hidden + hidden**2
    score = 2 * hidden * hidden + hidden * (hidden // 2) + hidden // 2
    interactions = model.global_layers * (pairs * 2 * hidden**2 + atoms * 3 * hidden**2)
    isomorphism = model.local_layers * atoms * 2 * hidden**2
    return 2 * ((pairs + local) * encoder + interactions + isomorphism + pairs * score)


def rows_of(data: Data, real: Path, rows: int | None) -> tuple[float, float, float, tuple[str, ...]]:
    """Train and test conformations and atoms per molecule, counted if prepared, else as configured; assumptions.

    Raises:
        UserError: they are unknown.
    """
    if prepared := prepared_shards(real):
        import pyarrow.parquet as pq

        tables = [pq.read_table(paths, columns=["atomic_numbers"]) for paths in prepared]
        atoms = len(tables[0].column(0).combine_chunks().flatten()) / len(tables[0])
        return len(tables[0]), len(tables[1]), atoms, ()
    molecules, each = data.molecules, data.conformers
    kept = 1 - (data.validation_fraction or 0)
    train = data.rows or rows or (round(molecules * each * kept) if molecules and each else None)
    if train is None:
        raise unknown_size("data", "prepare_data")
    tested, per_molecule = data.test_molecules, data.test_conformers or each
    test = float(tested * per_molecule if tested and per_molecule else train * data.test_fraction)
    told = f"There are {train:,} train and {test:,.0f} test conformations of {ATOMS} atoms each."
    return float(train), test, ATOMS, (told,)

"""What `selfloop init` finds in SDF files, and the studies that it makes of them: see `selfloop.domains.proposal`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median

from selfloop.config.section import given
from selfloop.domains.cost import AnyEffort
from selfloop.domains.molecule.config import Data, Model
from selfloop.domains.molecule.cost import effort_of
from selfloop.domains.molecule.data import readers, sources
from selfloop.domains.molecule.data.chemistry import LeftOut
from selfloop.domains.molecule.domain import parameter_count
from selfloop.domains.proposal import (
    COSINE,
    CURVE,
    NAMED,
    PER_STEP,
    WARM_UP,
    Choice,
    Draft,
    Found,
    Scale,
    common_name,
    defaults,
    too_few,
)
from selfloop.numbers import short

LEAST = 30  # molecules of which there can be a study
TEST_FRACTION = 0.2
SUFFIXES = sources.SUFFIXES["sdf"]


@dataclass(frozen=True)
class Size:
    """A model, and how it is trained."""

    atoms: int  # of the largest molecules
    hidden_size: int
    global_layers: int
    local_layers: int
    steps: int
    batch_size: int
    sampling_steps: int
    molecules: int


SIZES = (
    Size(20, 32, 1, 3, 400, 16, 25, 24),
    Size(30, 32, 1, 3, 800, 16, 50, 60),
    Size(40, 48, 2, 3, 1_500, 16, 50, 150),
    Size(60, 64, 3, 4, 4_000, 32, 100, 1_000),
    Size(100, 128, 6, 4, 20_000, 32, 100, 5_000),
)
LONGEST_TRAINING = 4  # times the usual steps


@dataclass(frozen=True)
class Molecules:
    """Molecules as the study will read them: atoms and conformers of each, and those of the size that was chosen."""

    name: str
    train: str | list[str]
    atoms: Sequence[int]
    conformers: Sequence[int]

    def up_to(self, atoms: int) -> list[int]:
        """The numbers of atoms of the molecules that are no larger."""
        return [each for each in self.atoms if each <= atoms]


def files_of(path: Path) -> list[Path]:
    """The SDF files at or below a path."""
    below = sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]
    return [inner for inner in below if inner.name.endswith(SUFFIXES)]


def found(named: Sequence[str], paths: Sequence[Path]) -> Found:
    """What is in SDF files.

    Args:
        named: the paths as the user wrote them.
        paths: their files.

    Raises:
        UserError: they cannot be read, or hold too little.
    """
    train: list[str] = []
    for name in named:
        if Path(name).is_dir():
            train += sorted({f"{name.rstrip('/')}/**/*{''.join(path.suffixes[-2:])}" for path in paths})
        else:
            train.append(name)
    where, left_out = named[0] if len(named) == 1 else f"{len(named)} files", LeftOut()
    section = defaults(Data, source="sdf", train=train)
    molecules = list(readers.of_sdf(list(paths), section, left_out))
    if len(molecules) < LEAST:
        raise too_few(len(molecules), "molecules", LEAST, where)
    atoms = [len(molecule.conformations[0].atomic_numbers) for molecule in molecules]
    conformers = [len(molecule.conformations) for molecule in molecules]
    said = [
        f"{where}: {sum(conformers):,} conformations of {len(molecules):,} molecules with {min(atoms)} to {max(atoms)} "
        f"atoms, a typical one {median(atoms):.0f}; {median(conformers):.0f} conformers each."
    ]
    said += [f"Left out: {reason}." for reason in left_out.described()]
    said += [f"{note}." for note in left_out.notes.described()]
    there = Molecules(common_name([Path(named[0])]), train[0] if len(train) == 1 else train, atoms, conformers)
    sizes = [size for size in SIZES if _available(there, size) >= size.molecules]
    if not sizes:  # few, or large ones
        most = sorted(atoms)[math.ceil(0.9 * len(atoms)) - 1]
        sizes = [Size(most, 32, 1, 3, 400, 16, 25, min(24, math.floor(0.7 * len(atoms))))]

    def effort(data: Data, model: Model) -> AnyEffort:
        each = data.conformers or 1
        kept = there.up_to(given(data.max_atoms))
        tested = data.test_molecules or 1
        return effort_of(data, model, given(data.molecules) * each, tested * each, mean(kept))

    scales = tuple(Scale(partial(_draft, there, size), _most(there, size)) for size in sizes)
    return Found(there.name, tuple(said), scales, effort)


def _available(molecules: Molecules, size: Size) -> int:
    """Molecules to train on; stereoisomers are held out together, which takes some more."""
    return math.floor((1 - 1.25 * TEST_FRACTION) * len(molecules.up_to(size.atoms)))


def _most(molecules: Molecules, size: Size) -> float:
    return max(1.0, LONGEST_TRAINING * _available(molecules, size) / size.molecules)


def _draft(there: Molecules, size: Size, factor: float) -> Draft:
    """The sections of a study, `factor` times as long as the shortest of its size."""
    available = _available(there, size)
    molecules = min(available, round(size.molecules * factor))
    steps = round(size.steps * min(LONGEST_TRAINING, max(1.0, factor)))
    conformers = 2 if median(there.conformers) >= 2 else 1
    kept = there.up_to(size.atoms)
    tested = max(5, min(30, molecules // 2, math.floor(TEST_FRACTION * len(kept))))
    limit = ", as many as the time allows" if molecules < available else ""
    layers = {"global_layers": size.global_layers, "local_layers": size.local_layers}
    model = defaults(Model, hidden_size=size.hidden_size, **layers)
    parameters = f"{short(parameter_count(model))} parameters, the largest that the time allows"
    return Draft(
        {
            "source": Choice("sdf", NAMED),
            "train": Choice(there.train, NAMED),
            "max_atoms": Choice(
                size.atoms, f"{len(kept):,} of {len(there.atoms):,} molecules; larger ones take longer"
            ),
            "molecules": Choice(molecules, f"of {available:,}{limit}"),
            "conformers": Choice(conformers, f"a typical molecule has {median(there.conformers):.0f}"),
            "test_fraction": Choice(TEST_FRACTION, "of the molecules are held out"),
            "test_molecules": Choice(tested, "of these; every model is measured on them"),
        },
        {
            "hidden_size": Choice(size.hidden_size, parameters),
            **{key: Choice(value, "more with the time and the data") for key, value in layers.items()},
        },
        {
            "steps": Choice(steps, "of the optimizer, the same for every training set"),
            "batch_size": Choice(min(size.batch_size, molecules * conformers), f"conformations {PER_STEP}"),
            "learning_rate": Choice(2e-3, "higher than GeoDiff's 1e-3, for fewer steps"),
            "schedule": Choice("cosine", COSINE),
            "warmup_steps": Choice(20, WARM_UP),
            "evaluations": Choice(4, CURVE),
        },
        {
            "schedule": Choice("strided", "noise levels from the noisiest to the finest"),
            "steps": Choice(size.sampling_steps, "of these levels; more take longer and sample more exactly"),
            "step_size": Choice(2e-5, "larger than GeoDiff's 1e-6, for so few steps"),
            "batch_size": Choice(16, "conformations sampled at once"),
        },
    )

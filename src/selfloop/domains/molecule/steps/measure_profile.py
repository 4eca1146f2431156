"""Rule measure_profile: how the sampled conformations of one seed's chains differ from real ones."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from selfloop.data.profile_rows import Params, rows, write_profile
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.molecule.data.conformations import read_conformations
from selfloop.domains.molecule.profile import Molecule, bond_biases, carried, grouped, measures, of_real
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Compare each part with the real conformations that it stands for, and with the part before it."""
    train = read_conformations(Path(job.input["train"]))
    real = grouped(train, range(len(train)))
    itself = of_real(real)

    @lru_cache(maxsize=4)  # the part before is measured before
    def sampled(part: str) -> Mapping[str, Molecule]:
        folder = Path(part)
        batches = iterate_rows(shard_paths(folder), ["row"])
        places = np.concatenate([batch.column("row").to_numpy() for batch in batches]).tolist()
        found = grouped(read_conformations(folder), places)
        return {name: molecule for name, molecule in found.items() if name in real}

    def measured() -> Iterator[dict[str, object]]:
        for link in job.params.links:
            found = sampled(link.part)
            values = measures(found, real)
            if link.previous is not None:
                before = bond_biases(sampled(link.previous), real)
                values |= carried(before, bond_biases(found, real))
            yield from rows(link, values, itself)

    write_profile(job, measured())

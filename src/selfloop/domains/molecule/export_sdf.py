"""`selfloop export-sdf`: a data set of conformations as an SDF file."""

from pathlib import Path

from selfloop.checksums import record_file
from selfloop.data.atomic import atomic_file
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.molecule.data.chemistry import mol_of
from selfloop.domains.molecule.data.conformations import COLUMNS, Conformations
from selfloop.errors import UserError
from selfloop.jobs.damage import check


def write_sdf(folder: Path, target: Path) -> int:
    """Write every row as an entry named as its molecule, with its origin as properties; returns how many.

    Args:
        folder: of Parquet shards with the columns of `conformations`.
        target: the file, written atomically.

    Raises:
        UserError: the folder holds no conformations, or they are damaged.
    """
    from rdkit.Chem import SDWriter

    if record_file(folder).exists():  # it may have been copied from elsewhere without
        check([folder])
    count = 0
    try:
        paths = shard_paths(folder)
    except FileNotFoundError as error:
        raise UserError(f"{error}.") from None
    with atomic_file(target, checksum=False) as scratch:
        writer = SDWriter(str(scratch))
        for batch in iterate_rows(paths, [*COLUMNS, "iteration", "part", "row"]):
            rows = Conformations.of([batch], str(folder))
            for row in range(len(rows)):
                mol = mol_of(rows[row])
                mol.SetProp("_Name", rows[row].name)
                for key in ("iteration", "part", "row"):
                    mol.SetIntProp(key, batch.column(key)[row].as_py())
                writer.write(mol)
                count += 1
        writer.close()
    return count

"""The energy of conformations by a force field. rdkit is imported lazily."""

from selfloop.domains.molecule.data.chemistry import mol_of
from selfloop.domains.molecule.data.conformations import Conformation, Floats
from selfloop.errors import UserError

MOST = 1e9  # kcal/mol: atoms in one place have an infinite energy


def energy(molecule: Conformation, *coordinates: Floats) -> list[float]:
    """The energy of conformations of one molecule, kcal/mol, at most `MOST`; by MMFF94, or by UFF where that fails.

    Args:
        molecule: its own coordinates are not used.
        coordinates: each [atoms, 3], Å.

    Raises:
        UserError: neither force field has the parameters of the molecule.
    """
    from rdkit.Chem import rdForceFieldHelpers as fields

    mol = mol_of(molecule, *coordinates)
    properties = fields.MMFFGetMoleculeProperties(mol)
    if properties is None and not fields.UFFHasAllMoleculeParams(mol):
        raise UserError(
            f"neither MMFF94 nor UFF has parameters of the molecule {molecule.name} ({molecule.smiles}); filter by "
            "broken-bonds, or leave the molecule out."
        )
    found = []
    for conformer in range(len(coordinates)):
        if properties is not None:
            field = fields.MMFFGetMoleculeForceField(mol, properties, confId=conformer)
        else:
            field = fields.UFFGetMoleculeForceField(mol, confId=conformer)
        value = float(field.CalcEnergy())
        found.append(value if value < MOST else MOST)  # also of NaN
    return found

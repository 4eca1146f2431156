"""Which pairs of atoms see each other."""

import numpy as np
import torch
from rdkit import Chem

from selfloop.domains.molecule.data.conformations import Conformations
from selfloop.domains.molecule.data.graph import build_batch, pairs_within


def test_local_pairs_are_those_at_most_three_bonds_apart_by_rdkits_count(molecules: Conformations) -> None:
    parser = Chem.SmilesParserParams()
    parser.removeHs = False
    for row in range(len(molecules)):
        mol = Chem.MolFromSmiles(molecules.smiles[row], parser)
        apart = Chem.GetDistanceMatrix(mol)
        graph = molecules.graph(row)
        expected = {}
        for i in range(mol.GetNumAtoms()):
            for j in range(i + 1, mol.GetNumAtoms()):
                if apart[i, j] == 1:
                    expected[i, j] = int(mol.GetBondBetweenAtoms(i, j).GetBondType())
                elif apart[i, j] <= 3:
                    expected[i, j] = {2: 23, 3: 24}[int(apart[i, j])]
        assert dict(zip(map(tuple, graph.local.T.tolist()), graph.types.tolist(), strict=True)) == expected
        pairs = {tuple(pair) for pair in graph.remote.T.tolist()}
        assert pairs.isdisjoint(expected)
        assert len(pairs) + len(expected) == graph.atoms * (graph.atoms - 1) // 2


def test_the_radius_graph_holds_every_local_pair_and_the_remote_ones_within_the_cutoff(
    molecules: Conformations,
) -> None:
    graphs = [molecules.graph(row) for row in range(len(molecules))]
    batch = build_batch(graphs, molecules.atomic_numbers)
    positions = torch.from_numpy(molecules.coordinates)
    cutoff = 4.0
    pairs = pairs_within(batch, positions, cutoff)
    found = {(int(i), int(j)): int(kind) for i, j, kind in zip(*pairs[:3], strict=True)}
    assert len(found) == len(pairs.first)
    distances = torch.cdist(positions.double(), positions.double()).numpy()
    offset = 0
    expected = {}
    for graph in graphs:
        local = {
            (int(i) + offset, int(j) + offset): int(k) for (i, j), k in zip(graph.local.T, graph.types, strict=True)
        }
        remote = {(int(i) + offset, int(j) + offset): 0 for i, j in graph.remote.T}
        expected |= local | {pair: 0 for pair in remote if distances[pair] <= cutoff}
        offset += graph.atoms
    assert found == expected
    assert 0 < pairs.local < len(found)
    assert np.allclose(pairs.lengths.numpy(), [distances[pair] for pair in found], atol=1e-5)


def test_atoms_in_the_same_place_push_each_other_nowhere(molecules: Conformations) -> None:
    batch = build_batch([molecules.graph(0)], molecules[0].atomic_numbers)
    pairs = pairs_within(batch, torch.zeros(len(molecules[0].atomic_numbers), 3), 10.0)
    assert torch.equal(pairs.units, torch.zeros_like(pairs.units))

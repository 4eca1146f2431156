"""Rows per CPU second of each scorer of filters, on made-up parts: python benchmarks/scoring.py [--rows N]

The best of three runs of the step score, reading and writing included. Cross-entropy is that of a small language model,
and reconstruction that of the default study's autoencoder of faces; energies are those of molecules of 9 to 26 atoms,
and their oracle is a GeoDiff of 64 dimensions with two layers of either kind.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from selfloop.config.filters import Filter
from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.data.shards import ShardWriter
from selfloop.domains import vectors
from selfloop.domains.discrete import model as frequencies
from selfloop.domains.discrete.rows import write_words
from selfloop.domains.discrete.steps import score as discrete
from selfloop.domains.gaussian import model as normal
from selfloop.domains.gaussian.steps import score as gaussian
from selfloop.domains.image.data import image_store
from selfloop.domains.image.model import checkpoint as autoencoder
from selfloop.domains.image.model.network import Shape
from selfloop.domains.image.model.network import build as build_autoencoder
from selfloop.domains.image.steps import score as image
from selfloop.domains.kde import model as kernels
from selfloop.domains.kde.steps import score as kde
from selfloop.domains.linear.config import Data
from selfloop.domains.linear.data.rows import write_rows
from selfloop.domains.linear.model import checkpoint as regression
from selfloop.domains.linear.steps import score as linear
from selfloop.domains.logistic import model as odds
from selfloop.domains.logistic.rows import write_rows as write_labelled
from selfloop.domains.logistic.steps import score as logistic
from selfloop.domains.molecule.config import Model as Diffusion
from selfloop.domains.molecule.data.chemistry import conformations_of
from selfloop.domains.molecule.data.conformations import write_conformations
from selfloop.domains.molecule.model import checkpoint as diffusion
from selfloop.domains.molecule.model.network import build as build_diffusion
from selfloop.domains.molecule.steps import score as molecule
from selfloop.domains.text.config import Model
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.data.tokenizer import train_tokenizer
from selfloop.domains.text.model.checkpoint import save_checkpoint
from selfloop.domains.text.model.network import build
from selfloop.domains.text.steps import score as text
from selfloop.jobs.job import Job

MODEL = Model(architecture="gpt2", hidden_size=128, layers=4, heads=4, context=128, vocabulary=512)
FACES = Shape(32, "gray", (8, 16, 32), 16)
DIFFUSION = Diffusion(hidden_size=64, global_layers=2, local_layers=2)
SMILES = ("CCO", "c1ccccc1C(=O)N", "CC(C)CC(=O)OCC", "C[C@H](N)C(=O)O", "ClCCBr")
PROGRAM = "import json, sys\nfor line in sys.stdin:\n    print(json.loads(line)['row'])\n"
D = 10
Own = tuple[Any, list[Filter], Callable[[Path], None] | None, dict[str, object]]  # step, scorers, checkpoint, params


def write_part(domain: str, folder: Path, rows: int, seed: int) -> None:
    """A data set of a domain."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(rows, D))
    if domain == "linear":
        write_rows(folder, X, np.ones(D), generator.normal(size=rows))
    elif domain == "logistic":
        write_labelled(folder, X, (generator.random(rows) < 0.5).astype(float))
    elif domain in ("gaussian", "kde"):
        vectors.write_rows(folder, X)
    elif domain == "discrete":
        write_words(folder, pa.array(generator.integers(0, 1000, size=rows).astype(str)))
    elif domain == "image":
        with atomic_folder(folder) as scratch, ShardWriter(scratch, image_store.SCHEMA) as writer:
            images = generator.integers(0, 256, size=(rows, 1, 32, 32), dtype=np.uint8)
            for row, data in enumerate(image_store.encode_png(images)):
                writer.append({"image": {"bytes": data}, "iteration": 1, "part": 0, "row": row})
    elif domain == "text":
        with atomic_folder(folder) as scratch, ShardWriter(scratch, SCHEMA) as writer:
            for row in range(rows):
                ids = [0, *generator.integers(1, 257, size=generator.integers(20, 120)).tolist(), 0]
                writer.append({"text": "", "input_ids": ids, "iteration": 1, "part": 0, "row": row})
    else:
        write_conformations([each for each, _ in zip(_molecules(), range(rows), strict=False)], folder)


def _molecules() -> Iterator[Any]:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    found = []
    for smiles in SMILES:
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        rdDistGeom.EmbedMultipleConfs(mol, 2, randomSeed=7)
        found += list(conformations_of(mol, smiles))
    while True:
        yield from found


def _language_model(folder: Path, tokenizer: Path) -> None:
    with atomic_file(tokenizer) as scratch:
        train_tokenizer(["a b c"], MODEL.vocabulary).save(str(scratch))
    model = build(MODEL, 0)
    save_checkpoint(model, {key: value.detach() for key, value in model.named_parameters()}, tokenizer, folder)


def _autoencoder(folder: Path) -> None:
    autoencoder.save_checkpoint(FACES, 0.001, dict(build_autoencoder(FACES, 0).state_dict()), folder)


def _diffusion(folder: Path) -> None:
    diffusion.save_checkpoint(dict(build_diffusion(DIFFUSION, 0).state_dict()), DIFFUSION, folder)


def domains(rows: int, tokenizer: Path) -> dict[str, Own]:
    """By domain: its step, scorers of its own, how to write a checkpoint for an oracle, and params."""
    oracle, away = Filter(by="oracle"), Filter(by="distance")
    points = np.random.default_rng(3).normal(size=(rows, D))

    def kernel(folder: Path) -> None:
        kernels.save_checkpoint(kernels.Model(points, np.full(rows, 1 / rows), 0.5), folder)

    def moments(folder: Path) -> None:
        normal.save_checkpoint(normal.Model(np.zeros(D), np.eye(D)), folder)

    def counts(folder: Path) -> None:
        frequencies.save_checkpoint(frequencies.model_of({str(k): k + 1.0 for k in range(1000)}), folder)

    def slopes(folder: Path) -> None:
        regression.save_checkpoint(np.ones(D), folder)

    def chances(folder: Path) -> None:
        odds.save_checkpoint(np.ones(D + 1), folder)

    data = {"data": Data(dimension=D, rows=rows), "seed": 0}
    own = [Filter(by="length"), Filter(by="duplicates"), Filter(by="cross-entropy"), oracle]
    of_images = [Filter(by="reconstruction"), Filter(by="nearest"), oracle]
    of_labels = [Filter(by="residual", center=[1.0] * (D + 1)), oracle]
    of_molecules = [Filter(by="energy"), Filter(by="broken-bonds"), oracle]
    return {
        "linear": (linear, [Filter(by="residual"), oracle], slopes, data),
        "logistic": (logistic, of_labels, chances, {}),
        "gaussian": (gaussian, [away, oracle], moments, {}),
        "kde": (kde, [away, oracle], kernel, {}),
        "discrete": (discrete, [Filter(by="reward", rewards={"1": 1.0}), oracle], counts, {}),
        "text": (text, own, partial(_language_model, tokenizer=tokenizer), {}),
        "image": (image, of_images, _autoencoder, {}),
        "molecule": (molecule, of_molecules, _diffusion, {}),
    }


def seconds() -> float:
    """Of the processor, of this process and of programs that it has run."""
    own, others = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
    return own.ru_utime + own.ru_stime + others


def main() -> None:
    """Print a line per domain and scorer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "verify.py").write_text(PROGRAM, encoding="utf-8")
        everywhere = [Filter(by="detector"), Filter(by="command", command=[sys.executable, "-S", f"{name}/verify.py"])]
        for domain, (step, own, checkpoint, more) in domains(rows, folder / "tokenizer.json").items():
            for seed, kind in enumerate(("part", "real")):
                write_part(domain, folder / domain / kind, rows, seed)
            if checkpoint is not None:
                with atomic_folder(folder / domain / "checkpoint") as scratch:
                    checkpoint(scratch)
            inputs = {kind: f"{name}/{domain}/{kind}" for kind in ("part", "real", "checkpoint")}
            inputs["tokenizer"] = f"{name}/tokenizer.json"
            for scorer in (*own, *everywhere):
                best = float("inf")
                for _ in range(3):
                    job = Job(inputs, {"scores": f"{name}/scores.parquet"}, step.Params(scorer=scorer, **more))
                    began = seconds()
                    step.run(job)
                    best = min(best, seconds() - began)
                print(
                    f"{domain:<10} {scorer.by:<15} {rows / best:>12,.0f} rows per CPU second "
                    f"({torch.get_num_threads()} threads)",
                    flush=True,
                )


if __name__ == "__main__":
    main()

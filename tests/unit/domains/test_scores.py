"""What domains score sampled rows by; and that in every domain a scorer at random is the random twin."""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from selfloop.config.filters import Filter
from selfloop.data import training_set
from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.data.choice import Choice, read_scores
from selfloop.data.shards import ShardWriter
from selfloop.domains import vectors
from selfloop.domains.discrete import model as discrete_model
from selfloop.domains.discrete.rows import write_words
from selfloop.domains.discrete.steps import score as discrete
from selfloop.domains.gaussian import model as gaussian_model
from selfloop.domains.gaussian.steps import score as gaussian
from selfloop.domains.image.data import image_store
from selfloop.domains.image.model.checkpoint import save_checkpoint as save_images_model
from selfloop.domains.image.model.loss import measure
from selfloop.domains.image.model.network import Shape as ImageShape
from selfloop.domains.image.model.network import build as build_autoencoder
from selfloop.domains.image.steps import score as image
from selfloop.domains.kde import model as kde_model
from selfloop.domains.kde.steps import score as kde
from selfloop.domains.linear.config import Data
from selfloop.domains.linear.data.rows import write_rows
from selfloop.domains.linear.model.checkpoint import save_checkpoint as save_linear_model
from selfloop.domains.linear.steps import score as linear
from selfloop.domains.logistic.model import save_checkpoint as save_labels_model
from selfloop.domains.logistic.rows import write_rows as write_labelled
from selfloop.domains.logistic.steps import score as logistic
from selfloop.domains.molecule.config import Model as MoleculeModel
from selfloop.domains.molecule.data.chemistry import conformations_of
from selfloop.domains.molecule.data.conformations import Conformation, read_conformations, write_conformations
from selfloop.domains.molecule.model.checkpoint import save_checkpoint as save_diffusion
from selfloop.domains.molecule.model.loss import row_losses
from selfloop.domains.molecule.model.network import build as build_diffusion
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.domains.molecule.steps import score as molecule
from selfloop.domains.protocol import domain_names
from selfloop.domains.text.data.token_store import PROMPTED, SCHEMA, TokenStore
from selfloop.domains.text.data.tokenizer import Marks, train_tokenizer, with_marks
from selfloop.domains.text.model.checkpoint import save_checkpoint
from selfloop.domains.text.model.loss import cross_entropy
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.steps import score as text
from selfloop.errors import UserError
from selfloop.jobs.job import Job

from .image.conftest import blobs
from .molecule.conftest import embedded

STEPS: dict[str, Any] = {
    "discrete": discrete,
    "gaussian": gaussian,
    "image": image,
    "kde": kde,
    "linear": linear,
    "logistic": logistic,
    "molecule": molecule,
    "text": text,
}


def scored(step: Any, part: Path, scorer: Filter, **more: Any) -> list[float]:
    inputs = {"part": str(part)} | {
        name: str(more.pop(name)) for name in ("checkpoint", "real", "tokenizer") if name in more
    }
    target = part.parent / f"{part.name}-scores.parquet"
    more = {"seed": 0, "data": Data(dimension=2, rows=3), **more} if step is linear else more
    step.run(Job(inputs, {"scores": str(target)}, step.Params(scorer=scorer, **more)))
    return list(read_scores(target))


def write_images(folder: Path, images: np.ndarray) -> None:
    with atomic_folder(folder) as scratch, ShardWriter(scratch, image_store.SCHEMA) as writer:
        for row, data in enumerate(image_store.encode_png(images)):
            writer.append({"image": {"bytes": data}, "iteration": 1, "part": 0, "row": row})


def write_documents(folder: Path, documents: list[list[int]]) -> None:
    with atomic_folder(folder) as scratch, ShardWriter(scratch, SCHEMA) as writer:
        for row, ids in enumerate(documents):
            writer.append({"text": "", "input_ids": ids, "iteration": 1, "part": 0, "row": row})


def conformations(smiles: str, conformers: int) -> list[Conformation]:
    return list(conformations_of(embedded(smiles, conformers), smiles))


def write_part(domain: str, folder: Path, rows: int, real: bool, seed: int = 0) -> None:
    """A data set of any domain; synthetic rows are off in a way that a detector can see."""
    generator = np.random.default_rng([seed, real])
    X = generator.normal(0.0 if real else 1.5, 1.0, size=(rows, 2))
    if domain == "discrete":
        write_words(
            folder, pa.array(generator.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1] if real else [0.1, 0.3, 0.6]))
        )
    elif domain in ("gaussian", "kde"):
        vectors.write_rows(folder, X)
    elif domain == "linear":
        write_rows(folder, X, np.array([1.0, -1.0]), generator.normal(size=rows), iteration=1)
    elif domain == "logistic":
        write_labelled(folder, X, (generator.random(rows) < 0.5).astype(float))
    elif domain == "image":
        write_images(folder, blobs(rows, seed + 7 * real) // (1 if real else 2))
    elif domain == "text":
        words = generator.integers(1, 20 if real else 10, size=(rows, 8))
        write_documents(folder, [[0, *ids, 0] for ids in words.tolist()])
    else:
        of = conformations("CCO", 2)
        moved = [of[row % 2].coordinates * (1.0 if real else 1.3) for row in range(rows)]
        noisy = [points + generator.normal(scale=0.02, size=points.shape).astype(np.float32) for points in moved]
        write_conformations(
            [Conformation("CCO", of[0].smiles, of[0].atomic_numbers, of[0].bonds, points) for points in noisy],
            folder,
            rows=[0] * rows,
        )


def test_every_domain_scores_rows() -> None:
    assert sorted(STEPS) == domain_names()


RANDOM = """
import random, sys
drawn = random.Random(sys.argv[1] + str(len(sys.argv)))
for line in sys.stdin:
    print(drawn.random())
"""


def kept_of(folder: Path, parts: list[Path], scores: list[Path], seed: int, **changes: Any) -> dict[str, float]:
    """Of the rows that a filter or its twin keeps of two parts: the shares in first halves of parts, and of part 0."""
    base = {"name": "mine", "keep": "highest", "each": False, "candidates": 2, "beta": 1.0, "noise": 0.0}
    how = Choice.model_validate({**base, "random": not scores, **changes})
    takes = [training_set.Take(iteration=1, part=part, amount=0.5, skip=0.0, weight=1.0, filter=how) for part in (0, 1)]
    output = folder / f"set-{seed}-{len(scores)}-{how.each}"
    job = Job(
        {"parts": [str(part) for part in parts], "real": str(parts[0]), "scores": [str(each) for each in scores]},
        {"training_set": str(output)},
        training_set.Params(streams=f"streams {seed}", takes=takes, budget=None),
    )
    training_set.run(job)
    shards = json.loads((output / "manifest.json").read_text())["shards"]
    rows = [pq.read_table(output / shard["selection"]).column("row").to_numpy() for shard in shards]
    kept = np.concatenate(rows)
    assert len(kept) == ROWS
    assert not how.each or sorted(kept) == list(range(ROWS)), "one of each row's candidates"
    return {"first half": float((kept < ROWS // 2).mean()), "part 0": len(rows[0]) / ROWS}


ROWS, DRAWS = 100, 6


@pytest.mark.parametrize("domain", domain_names())
def test_a_scorer_at_random_equals_its_twin_within_noise(domain: str, tmp_path: Path) -> None:
    parts = [tmp_path / "one", tmp_path / "other"]
    for seed, part in enumerate(parts):
        write_part(domain, part, ROWS, real=False, seed=seed)
    (tmp_path / "verify.py").write_text(RANDOM)
    shares: dict[tuple[str, bool], list[dict[str, float]]] = defaultdict(list)
    for seed in range(DRAWS):
        files = []
        for part in parts:
            command = [sys.executable, "-S", str(tmp_path / "verify.py"), f"{seed} {part.name}"]
            scored(STEPS[domain], part, Filter(by="command", command=command))
            files.append(part.parent / f"{part.name}-scores.parquet")
        for each in (False, True):
            shares["filter", each].append(kept_of(tmp_path, parts, files, seed, each=each))
            shares["twin", each].append(kept_of(tmp_path, parts, [], seed, each=each))
    # Half of 2 ROWS candidates are kept, and half of them are in a first half and of part 0: hypergeometric numbers. Of
    # each row one of two is kept: a binomial number of part 0.
    for (_, each), found in shares.items():
        deviation = np.sqrt((0.25 if each else 0.125) / ROWS / DRAWS)
        for name in ("part 0",) if each else ("first half", "part 0"):
            assert np.mean([one[name] for one in found]) == pytest.approx(0.5, abs=4 * deviation)


@pytest.mark.parametrize("domain", domain_names())
def test_a_detector_of_every_domain_takes_real_rows_for_real(domain: str, tmp_path: Path) -> None:
    write_part(domain, tmp_path / "real", 60, real=True)
    write_part(domain, tmp_path / "synthetic", 60, real=False)
    found = {}
    for name in ("real", "synthetic"):
        more = {"data": Data(dimension=2, rows=60)} if domain == "linear" else {}
        found[name] = scored(STEPS[domain], tmp_path / name, Filter(by="detector"), real=tmp_path / "real", **more)
    assert np.mean(found["synthetic"]) < min(0.0, np.mean(found["real"]) - 0.5)


@pytest.mark.parametrize(("domain", "scorer"), [("gaussian", gaussian), ("kde", kde)])
def test_a_point_is_scored_by_its_distance_from_a_ball(tmp_path: Path, domain: str, scorer: Any) -> None:
    vectors.write_rows(tmp_path / "part", np.array([[3.0, 4.0], [0.5, 0.0], [1.0, 2.0]]))
    assert scored(scorer, tmp_path / "part", Filter(by="distance")) == [-5.0, -0.5, pytest.approx(-(5**0.5))]
    assert scored(scorer, tmp_path / "part", Filter(by="distance", center=[1.0, 0.0], radius=1.0)) == [
        pytest.approx(1 - 20**0.5), 0.0, -1.0,
    ]  # fmt: skip


def test_labels_within_a_verifiers_ball_are_all_right(tmp_path: Path) -> None:
    """A verifier who knows w within a radius cannot tell labels that some w of the ball would give (2510.16657)."""
    X = np.array([[3.0, 4.0], [3.0, 4.0], [1.0, 0.0]])
    write_rows(tmp_path / "part", X, np.array([1.0, 0.0]), np.array([0.4, 2.0, -0.2]))
    scorer = Filter(by="residual", center=[1.0, 0.0], radius=0.1)  # of |x| = 5: labels off by up to .5
    assert scored(linear, tmp_path / "part", scorer) == pytest.approx([0.0, -1.5, -0.1])


def test_a_logistic_label_is_scored_by_its_probability(tmp_path: Path) -> None:
    write_labelled(tmp_path / "part", np.array([[0.0], [0.0], [2.0]]), np.array([1.0, 0.0, 1.0]))
    scorer = Filter(by="residual", center=[1.0, np.log(3.0)])  # of x = 0, label 1 has the probability 3/4
    p = 1 / (1 + np.exp(-2) / 3)
    assert scored(logistic, tmp_path / "part", scorer) == pytest.approx([-0.25, -0.75, p - 1])


def test_an_oracle_of_labels_is_the_logarithm_of_their_probability(tmp_path: Path) -> None:
    write_labelled(tmp_path / "part", np.array([[0.0], [0.0], [2.0]]), np.array([1.0, 0.0, 1.0]))
    with atomic_folder(tmp_path / "checkpoint") as scratch:
        save_labels_model(np.array([1.0, np.log(3.0)]), scratch)
    found = scored(logistic, tmp_path / "part", Filter(by="oracle"), checkpoint=tmp_path / "checkpoint")
    assert found == pytest.approx([np.log(0.75), np.log(0.25), -np.log1p(np.exp(-2) / 3)])


def test_an_oracle_is_how_likely_a_row_is_to_the_referee(tmp_path: Path) -> None:
    oracle, part, referee = Filter(by="oracle"), tmp_path / "part", tmp_path / "referee"
    X = np.array([[1.0, 2.0], [0.0, 0.0]])
    vectors.write_rows(part, X)
    for name in ("gaussian", "kde", "linear", "discrete"):
        (tmp_path / name).mkdir()
    gaussian_model.save_checkpoint(
        gaussian_model.Model(np.array([1.0, 0.0]), np.diag([1.0, 4.0])), tmp_path / "gaussian"
    )
    assert scored(gaussian, part, oracle, checkpoint=tmp_path / "gaussian") == pytest.approx([-0.5, -0.5])
    estimate = kde_model.Model(np.zeros((1, 2)), np.ones(1), 1.0)
    kde_model.save_checkpoint(estimate, tmp_path / "kde")
    assert scored(kde, part, oracle, checkpoint=tmp_path / "kde") == pytest.approx(list(estimate.log_density(X)))
    write_rows(referee, X, np.array([1.0, 1.0]), np.array([0.5, -0.5]))
    save_linear_model(np.array([0.0, 1.0]), tmp_path / "linear")
    assert scored(linear, referee, oracle, checkpoint=tmp_path / "linear") == pytest.approx([-1.5, -0.5])
    write_words(tmp_path / "words", pa.array(["b", "unseen"]))
    discrete_model.save_checkpoint(discrete_model.model_of({"a": 3.0, "b": 1.0}), tmp_path / "discrete")
    expected = np.log([0.99 * 0.25 + 0.005, 0.005])
    assert scored(discrete, tmp_path / "words", oracle, checkpoint=tmp_path / "discrete") == pytest.approx(
        list(expected)
    )


def test_images_are_scored_by_their_reconstruction_and_by_the_referees_loss(tmp_path: Path) -> None:
    images = blobs(5)
    write_images(tmp_path / "part", images)
    model = build_autoencoder(ImageShape(8, "gray", (4, 8), 3), 0)
    with atomic_folder(tmp_path / "checkpoint") as scratch:
        save_images_model(model.shape, 0.01, dict(model.state_dict()), scratch)
    losses = measure(model.eval(), torch.from_numpy(images), 0.01, torch.device("cpu"))
    found = scored(image, tmp_path / "part", Filter(by="reconstruction"), checkpoint=tmp_path / "checkpoint")
    assert np.mean(found) == pytest.approx(-losses["reconstruction_mse"], rel=1e-5)
    found = scored(image, tmp_path / "part", Filter(by="oracle"), checkpoint=tmp_path / "checkpoint")
    assert np.mean(found) == pytest.approx(-losses["total_loss"], rel=1e-5)


def test_images_are_scored_by_the_nearest_real_one(tmp_path: Path) -> None:
    real = np.zeros((2, 1, 8, 8), dtype=np.uint8)
    real[1] = 255
    write_images(tmp_path / "real", real)
    write_images(tmp_path / "part", np.stack([real[1], np.full((1, 8, 8), 51, np.uint8), real[0]]))
    found = scored(image, tmp_path / "part", Filter(by="nearest"), real=tmp_path / "real")
    assert found == pytest.approx([0.0, -51 / 127.5, 0.0], abs=1e-3)


def test_molecules_are_scored_by_broken_bonds_and_by_their_energy(tmp_path: Path) -> None:
    (real,) = conformations("CCO", 1)
    stretched = Conformation("CCO", real.smiles, real.atomic_numbers, real.bonds, real.coordinates * 1.5)
    write_conformations([real], tmp_path / "real")
    write_conformations([real, stretched], tmp_path / "part", rows=[0, 0])
    found = scored(molecule, tmp_path / "part", Filter(by="broken-bonds"), real=tmp_path / "real")
    assert found == [0.0, -float(len(real.bonds))]
    found = scored(molecule, tmp_path / "part", Filter(by="energy"), real=tmp_path / "real")
    assert found[0] == pytest.approx(0.0, abs=1e-6)
    assert found[1] < -10.0  # kcal/mol per atom


def test_molecules_are_scored_by_the_referees_loss(tmp_path: Path) -> None:
    of = conformations("CCO", 2)
    write_conformations(of, tmp_path / "part", rows=[0, 0])
    section = MoleculeModel(hidden_size=8, global_layers=1, local_layers=1, timesteps=50)
    model = build_diffusion(section, 0).eval()
    with atomic_folder(tmp_path / "checkpoint") as scratch:
        save_diffusion(dict(model.state_dict()), section, scratch)
    found = scored(molecule, tmp_path / "part", Filter(by="oracle"), checkpoint=tmp_path / "checkpoint")
    assert found == pytest.approx(-row_losses(model, sigmas(section), read_conformations(tmp_path / "part"), "cpu"))


@pytest.mark.parametrize(("center", "w"), [(None, [2.0, -1.0]), ([0.5, 0.5], [0.5, 0.5])])
def test_a_label_is_scored_by_its_distance_from_what_the_verifier_believes(
    tmp_path: Path, center: list[float] | None, w: list[float]
) -> None:
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    write_rows(tmp_path / "part", X, np.array([1.0, 1.0]), np.array([0.0, 0.5, -0.5]))
    data = Data(dimension=2, rows=3, w_star=[2.0, -1.0])
    found = scored(linear, tmp_path / "part", Filter(by="residual", center=center), data=data)
    np.testing.assert_allclose(found, -np.abs(np.array([1.0, 1.5, 1.5]) - X @ w))


def test_a_word_is_scored_by_its_reward(tmp_path: Path) -> None:
    write_words(tmp_path / "part", pa.array(["b", "a", "c", "b"]))
    assert scored(discrete, tmp_path / "part", Filter(by="reward", rewards={"b": 2.0, "a": -1.0})) == [2, -1, 0, 2]


DOCUMENTS = [[0, 5, 6, 0], [0, 7, 8, 9, 0], [0, 5, 6, 0], [0, 7, 7], [0, 5, 6, 0]]


@pytest.fixture
def part(tmp_path: Path) -> Path:
    write_documents(tmp_path / "part", DOCUMENTS)
    return tmp_path / "part"


def test_documents_are_scored_by_their_length_and_by_earlier_copies(part: Path) -> None:
    train_tokenizer(["a b c"], 260).save(str(part.parent / "own.json"))
    assert scored(text, part, Filter(by="length"), tokenizer=part.parent / "own.json") == [2, 3, 2, 2, 2]
    assert scored(text, part, Filter(by="duplicates")) == [0, 0, -1, 0, -2]


def test_the_length_of_a_checkpoints_documents_is_without_its_own_marks_and_without_prompts(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b c"], 257)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    begin, end = (tokenizer.token_to_id(word) for word in ("<s>", "</s>"))
    with_marks(tokenizer, Marks(begin, end, 259)).save(str(tmp_path / "theirs.json"))
    rows = [([begin, 5, 6, end], 1), ([begin, 7, 0], 1), ([begin, 7, 8, 9, end], 3), ([begin, 7], 2)]
    with atomic_folder(tmp_path / "part") as scratch, ShardWriter(scratch, PROMPTED) as writer:
        for row, (ids, given) in enumerate(rows):
            origin = {"text": "", "iteration": 1, "part": 0, "row": row}
            writer.append({**origin, "input_ids": ids, "prompt_tokens": given})
    found = scored(text, tmp_path / "part", Filter(by="length"), tokenizer=tmp_path / "theirs.json")
    assert found == [2, 2, 1, 0]


def test_documents_are_scored_by_their_cross_entropy_per_token(part: Path, tmp_path: Path) -> None:
    model = Transformer(Shape("gpt2", 16, 1, 2, 32, 16, 260))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    with atomic_file(tmp_path / "tokenizer.json") as scratch:
        train_tokenizer(["a b c"], 260).save(str(scratch))
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with atomic_folder(tmp_path / "checkpoint") as folder:
        save_checkpoint(model, weights, tmp_path / "tokenizer.json", folder)
    found = scored(text, part, Filter(by="cross-entropy"), checkpoint=tmp_path / "checkpoint")
    named = Filter(by="cross-entropy", of=str(tmp_path / "checkpoint"))
    assert scored(text, part, named, tokenizer=tmp_path / "tokenizer.json") == found
    train_tokenizer(["x y z"], 262).save(str(tmp_path / "other.json"))
    with pytest.raises(UserError, match="its tokenizer is another one than that of the scored documents"):
        scored(text, part, named, tokenizer=tmp_path / "other.json")
    oracle = scored(text, part, Filter(by="oracle"), checkpoint=tmp_path / "checkpoint")
    assert oracle == [-value for value in found]
    for ids, value in zip(DOCUMENTS, found, strict=True):
        alone = TokenStore(np.array(ids, dtype="<u2"), np.array([0, len(ids)]))
        assert value == pytest.approx(cross_entropy(model.eval(), alone, torch.device("cpu")), rel=1e-5)

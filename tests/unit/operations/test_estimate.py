"""What a study is said to cost, against numbers worked out by hand."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfloop.cli import main
from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import ShardWriter
from selfloop.domains.cost import Work
from selfloop.domains.discrete import config as discrete
from selfloop.domains.discrete.cost import effort as discrete_effort
from selfloop.domains.discrete.words import corpus
from selfloop.domains.linear import config as linear
from selfloop.domains.linear.cost import effort as linear_effort
from selfloop.domains.text.config import Data, Model, Prompt, Sampling, Training
from selfloop.domains.text.cost import characters_per_token, effort, forward_flops
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.errors import UserError
from selfloop.operations.cost import Speed, costs
from selfloop.planning import study, work
from selfloop.planning.check import check
from selfloop.planning.rules import Plan
from selfloop.planning.work import rows_taken

ROOT = Path(__file__).parents[3]
PAPER = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text(encoding="utf-8"))

# Parameters of this GPT-2: embeddings 300·8 and 16·8; a block 4·8 (norms) + 8·24+24 + 8·8+8 + 8·32+32 + 32·8+8 = 872,
# of which there are 2; the last norm 16. N = 2400 + 128 + 1744 + 16 = 4288.
MODEL = Model(architecture="gpt2", hidden_size=8, layers=2, heads=2, context=16, vocabulary=300)
N = 4288
DATA = Data(source="hub", name="someone/something")
SAMPLING = Sampling()
ONCE = Training(epochs=1.0, evaluations=1)


def attention(positions: int) -> int:
    """2 layers; at position p, p keys and p values of 8 numbers, two operations for each."""
    return sum(2 * (2 * 2 * 8 * p) for p in range(1, positions + 1))


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Prepared data: 10 train rows of 6 tokens, 4 test rows of 5."""
    for split, rows, length in (("train", 10, 6), ("test", 4, 5)):
        target = tmp_path / "tokenized" / split
        with atomic_folder(target) as scratch, ShardWriter(scratch, SCHEMA, rows_per_shard=4) as writer:
            for row in range(rows):
                ids = [0, *range(1, length - 1), 0]
                writer.append({"text": "abc", "input_ids": ids, "iteration": 0, "part": 0, "row": row})
    return tmp_path / "tokenized"


def test_a_pass_forwards_takes_two_operations_per_parameter_and_the_attentions(real: Path) -> None:
    assert forward_flops(MODEL, 1) == 2 * N + attention(1)
    assert forward_flops(MODEL, 5) == 5 * 2 * N + attention(5)


def test_a_training_is_three_passes_over_its_tokens_and_the_evaluations(real: Path) -> None:
    """6·N per token: of 6 tokens in a row 5 are predicted. 10 rows, twice as many in the training set, 3 epochs."""
    work = effort(DATA, MODEL, real).train(Training(epochs=3.0, evaluations=7), 2.0)
    assert work.units == 3 * 2 * 10 * 5
    test = 4 * (4 * 2 * N + attention(4))
    assert work.flops == 3 * 2 * 10 * (5 * 6 * N + 3 * attention(5)) + 7 * test
    assert work.bytes == 4 * N
    few = effort(DATA, MODEL, real).train(Training(epochs=3.0, evaluations=7, evaluation_rows=1), 2.0)
    assert work.flops - few.flops == 7 * test * 3 / 4


def test_a_part_has_a_row_for_each_real_one(real: Path) -> None:
    found = effort(DATA, MODEL, real)
    shards = sum(path.stat().st_size for path in (real / "train").iterdir())
    assert found.generate(SAMPLING) == Work(10 * 5, 10 * (5 * 2 * N + attention(5)), shards)
    # The first token is given; the model reads it all the same.
    assert found.generate(SAMPLING.changed(prompt="first-token")).units == 10 * 4
    short = found.generate(SAMPLING.changed(max_length=4))
    assert short == Work(10 * 3, 10 * (3 * 2 * N + attention(3)), pytest.approx(shards * 4 / 6))


def test_a_part_of_continuations_is_as_long_as_is_asked_and_costs_each_beam(real: Path) -> None:
    """Rows of 6 tokens: begin-of-text, four, and end-of-text, which is no prompt."""
    found = effort(DATA, MODEL, real)
    short = found.generate(Sampling(prompt=Prompt(tokens=64)))
    assert short.units == 10 * 1
    asked = Sampling(prompt=Prompt(tokens=2)).changed(continuation=9)
    assert found.generate(asked).units == 10 * 9
    assert found.generate(asked).flops == 10 * forward_flops(MODEL, 11)
    assert found.generate(asked.changed(beams=5)).flops == 5 * found.generate(asked).flops
    assert found.generate(asked.changed(continuation=90)).units == 10 * 13


def test_a_part_is_measured_under_its_model_and_the_first_one(real: Path) -> None:
    found = effort(DATA, MODEL, real)
    one = Work(10 * 5, 10 * (5 * 2 * N + attention(5)))
    assert found.evaluate_part(SAMPLING, True) == one
    assert found.evaluate_part(SAMPLING, False) == one + one
    assert found.evaluate_model == Work(4 * 4, 4 * (4 * 2 * N + attention(4)))


def test_each_document_is_cut_to_the_context(real: Path) -> None:
    """10 rows of 6 tokens and 5 of 2: in a context of 4 they have 4 and 2."""
    with atomic_folder(real / "train") as scratch, ShardWriter(scratch, SCHEMA) as writer:
        for row in range(15):
            ids = [0] * (6 if row % 3 else 2)
            writer.append({"text": "", "input_ids": ids, "iteration": 0, "part": 0, "row": row})
    work = effort(DATA, MODEL.changed(context=4), real).train(ONCE, 1.0)
    assert work.units == pytest.approx(10 * 3 + 5 * 1)


def test_prepared_data_are_known_and_others_assumed(real: Path, tmp_path: Path) -> None:
    known, guessed = effort(DATA, MODEL, real), effort(DATA, MODEL, tmp_path / "nothing", rows=90)
    assert known.data.bytes == sum(path.stat().st_size for path in real.rglob("*.parquet"))
    assert len(known.assumed) == 1
    assert len(guessed.assumed) == 4
    # Documents of 1,000 characters are longer than the context. A tenth of the rows is held out: 90 are left of 100.
    assert guessed.train(ONCE, 1.0).units == 90 * 15
    assert guessed.evaluate_model.units == pytest.approx(10 * 15)


def test_data_of_unknown_size_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.name: 'someone/something': size unknown until prepared.*--rows"):
        effort(DATA, MODEL, tmp_path)
    assert effort(DATA.changed(rows=30), MODEL, tmp_path).train(ONCE, 1.0).units == 30 * 15


def test_tinystories_is_as_large_as_the_paper_says(tmp_path: Path) -> None:
    whole = DATA.changed(name="roneneldan/TinyStories")
    model = MODEL.changed(context=2048, vocabulary=8000)
    for fraction, rows in ((None, 2_119_719), (0.2, 0.2 * 2_119_719)):
        found = effort(whole.changed(fraction=fraction), model, tmp_path)
        # All tokens but each row's first are predicted.
        expected = (fraction or 1) * 470e6 - rows
        assert found.train(ONCE, 1.0).units == pytest.approx(expected)
        assert found.evaluate_model.units == pytest.approx(21_990 * (470e6 / 2_119_719 - 1))


def test_tokens_are_longer_in_larger_vocabularies() -> None:
    sizes = [257, 300, 512, 700, 2048, 8000, 65536]
    lengths = [characters_per_token(size) for size in sizes]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[2], lengths[5], lengths[6]) == (1.0, pytest.approx(2.3), pytest.approx(4.1), 4.1)


def test_linear_regression_forms_a_matrix_of_products() -> None:
    found = linear_effort(linear.Data(rows=100, dimension=10), linear.Model(), Path("nowhere"))
    assert found.train(linear.Training(), 3.0) == Work(300, 2 * 300 * 10 * 10, 80)
    assert found.generate(linear.Sampling()) == Work(100, 2 * 100 * 10, 100 * 12 * 8)


def test_every_domain_with_laws_says_what_its_jobs_cost() -> None:
    lines, said = costs(plan(yaml.safe_load((ROOT / "tests/studies/laws.yaml").read_text(encoding="utf-8"))))
    sampled = {line.name: line.of("generate").units for line in lines}
    assert sampled == {"gaussian": 60, "discrete": 1000, "kde": 100, "logistic": 618, "linear": 20, "in all": 1798}
    assert {line.unit for line in lines} == {"rows"}
    assert len(said) == 1


def test_a_study_of_all_words_is_as_large_as_the_corpus() -> None:
    found = discrete_effort(discrete.Data(source="packaged", name="shakespeare"), discrete.Model(), Path("nowhere"))
    assert found.data.bytes == 4 * len(corpus("train"))


# --- a whole study -------------------------------------------------------------------------------------------------


def plan(given: dict[str, Any]) -> Plan:
    checked = check(given)
    built = Plan(study.build(checked).experiments)
    built.checked = checked
    return built


def of(*names: str) -> dict[str, Any]:
    """The paper's study with some of its experiments."""
    return {"experiments": {name: copy.deepcopy(PAPER["experiments"][name]) for name in names}}


def test_rows_of_training_sets_follow_the_regimes() -> None:
    given = of("tinystories-gpt2-9m")
    given["experiments"]["tinystories-gpt2-9m"]["regimes"] = ["accumulate", "replace", "accumulate-subsample", "mine"]
    given["experiments"]["tinystories-gpt2-9m"]["iterations"] = 3
    given["regimes"] = {"mine": {"parts": [{"from": "real", "amount": 0.5}, {"from": "previous", "amount": 1.75}]}}
    taken = {chain.regime: [rows_taken(model) for model in chain.models] for chain in plan(given).chains}
    assert taken == {
        "accumulate": [1, 2, 3],
        "replace": [1, 1, 1],
        "accumulate-subsample": [1, 1, 1],
        "mine": [1, 2.25, 2.25],
    }


def test_the_papers_gpt2_by_hand() -> None:
    """Epochs over TinyStories: iteration 1; replace 9; accumulate 2+3+4+5; replace-multiple 2+3+4."""
    (line, total), _ = costs(plan(of("tinystories-gpt2-9m")))
    predicted = 470e6 - 2_119_719
    assert line.jobs["train"] == 17
    assert line.jobs["generate"] == 23
    assert line.of("train").units == pytest.approx((1 + 9 + 14 + 9) * predicted)
    # The first token of each sampled document is given.
    assert line.of("generate").units == pytest.approx(23 * (predicted - 2_119_719))
    n = 8_890_880
    length = 470e6 / 2_119_719 - 1
    attended = 4 * 8 * 256 * length * (length + 1) / 2
    assert line.of("generate").flops == pytest.approx(23 * 2_119_719 * (2 * n * length + attended))
    assert total.of() == line.of()


def test_of_a_number_of_steps_every_training_sees_as_many_rows() -> None:
    given = of("tinystories-gpt2-9m")
    entry = given["experiments"]["tinystories-gpt2-9m"]
    entry["training"] = {"steps": 1000, "batch_size": 32}
    (line, _), _ = costs(plan(given))
    length = 470e6 / 2_119_719
    assert line.of("train").units == pytest.approx(17 * 1000 * 32 * (length - 1))
    entry["training"]["packing"] = True
    (line, _), _ = costs(plan(given))
    assert line.of("train").units == pytest.approx(17 * 1000 * 32 * 2048)


def test_candidates_and_their_scores_are_counted() -> None:
    """Three parts of each of two models, scored under model 1; and the referee of an oracle, which is trained, too."""
    data = {"dimension": 4, "rows": 10, "reserve": 2.0}
    config = {
        "experiments": {
            "a": {"domain": "linear", "data": data, "regimes": ["verified"], "iterations": 3, "seeds": [0]},
        },
        "regimes": {"verified": {"parts": [{"from": "previous", "filter": "best"}]}},
        "filters": {"best": {"by": "oracle", "candidates": 3}},
    }
    (alone, whole) = costs(plan(config))[0]
    assert (alone.jobs["score"], alone.jobs["generate"], alone.jobs["train"]) == (6, 7, 4)
    assert alone.of("generate").units == 7 * 10
    assert alone.of("score").flops == 6 * 2 * 4 * 10
    assert alone.of("train").units == 3 * 10 + 3 * 10  # three models of 10 rows, and the referee's 10 and 20
    config["filters"] = {"best": {"by": "residual", "candidates": 3}}
    assert costs(plan(config))[0][0].of("score").flops == 0
    assert whole.jobs["score"] == 6


def test_what_experiments_share_counts_once_in_all() -> None:
    (hot, cold, total), _ = costs(plan(of("tinystories-gpt2-9m", "tinystories-gpt2-9m-cold")))
    first = 470e6 - 2_119_719
    assert (hot.jobs["train"], cold.jobs["train"], total.jobs["train"]) == (17, 14, 30)
    assert total.of("train").units == pytest.approx(hot.of("train").units + cold.of("train").units - first)
    assert total.jobs["generate"] == hot.jobs["generate"] + cold.jobs["generate"] == 37
    assert (hot.jobs["prepare_data"], cold.jobs["prepare_data"], total.jobs["prepare_data"]) == (1, 1, 1)


def test_hours_are_operations_or_units_over_the_speed() -> None:
    work = Work(units=7200, flops=3.6e6)
    speed = Speed(train=1000, generate=100)
    assert [speed.hours(rule, work) for rule in ("train", "evaluate_part", "generate")] == [1, 1, 10]
    given = Speed(train=1000, generate=100, trained=2, sampled=4)
    assert [given.hours(rule, work) for rule in ("train", "evaluate_part", "generate")] == [1, 1, 0.5]


def estimate(configfile: Path, *arguments: str) -> None:
    """Run the command to its end."""
    with pytest.raises(SystemExit) as ended:
        main(["estimate", "--configfile", str(configfile), *arguments])
    assert ended.value.code == 0, ended.value.code


def test_the_estimate_is_printed_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(of("tinystories-gpt2-9m", "linear"), sort_keys=False), encoding="utf-8")
    estimate(path, "--flops", "4e14", "--utilisation", "0.5")
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0].split()[-1] == "device-hours"
    assert len({len(line) for line in lines[:6]}) == 1  # aligned
    assert lines[2].split()[:5] == ["tinystories-gpt2-9m", "102", "17", "23", "15.4G"]
    assert "- roneneldan/TinyStories has 2,119,719 train rows of 222 tokens, as published." in lines
    assert "- A device has 400TFLOP/s (by --flops) and reaches 50% of it in training and measuring" in text


def test_the_estimate_as_json_has_all_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(of("tinystories-gpt2-9m")), encoding="utf-8")
    estimate(path, "--flops", "1e15", "--json", "--sampled-per-second", "1e6")
    line, total = json.loads(capsys.readouterr().out)["lines"]
    assert line["jobs"] == {key: total["jobs"][key] for key in line["jobs"]}
    work, hours = line["work"], line["device_hours"]
    assert hours["train"] == pytest.approx(work["train"]["flops"] / (1e15 * 0.4) / 3600)
    assert hours["generate"] == pytest.approx(work["generate"]["units"] / 1e6 / 3600)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("experiments: {a: {domain: text}}", "selfloop: experiments.a lacks the key 'data'"),
        ("{}", "selfloop: the config lacks the key 'experiments'"),
        ("[]", "selfloop: {path}: it holds no keys."),
        ("experiments: [", "selfloop: {path}: while parsing"),
    ],
)
def test_a_wrong_config_is_one_message(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["estimate", "--configfile", str(path)])
    assert str(stopped.value).startswith(said.replace("{path}", str(path)))


def test_the_domain_that_says_no_costs_has_its_jobs_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "domain_module", lambda domain, module: None)
    (line, total), notes = costs(plan(of("tinystories-gpt2-9m")))
    assert line.jobs["train"] == total.jobs["train"] == 17
    assert line.of() == Work()
    assert notes == ["Only the jobs of the domain text are counted: it does not say what they cost."]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_estimate_says_what_auto_precision_is(
    dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFLOOP_AUTO_PRECISION", dtype)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(of("tinystories-gpt2-9m")), encoding="utf-8")
    estimate(path)
    assert f"precision: auto is {dtype} on this processor (" in capsys.readouterr().out
    monkeypatch.setenv("SELFLOOP_GPUS", "0")
    estimate(path)
    assert "precision: auto is bfloat16 on GPUs with units for it, else float32." in capsys.readouterr().out

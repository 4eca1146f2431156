"""What steps ask for: the file, what it may hold, and how a later attempt asks for more."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from selfloop.code_digest import is_module, used_modules
from selfloop.domains.protocol import domain_names
from selfloop.errors import UserError
from selfloop.jobs.steps import step_module
from selfloop.planning.check import check
from selfloop.planning.resources import STEPS_ASKING, Resources
from selfloop.planning.rules import plan_study

FILE = Path(__file__).parents[3] / "config/resources.yaml"


def changed(tmp_path: Path, *keys: str, value: Any) -> Path:
    """A copy of the file with one value changed."""
    table = yaml.safe_load(FILE.read_text())
    inner = table
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    path = tmp_path / "resources.yaml"
    path.write_text(yaml.safe_dump(table))
    return path


def test_a_domain_that_says_nothing_asks_for_the_default() -> None:
    resources = Resources(FILE)
    assert resources.of("train", "text").gpu == 1
    assert resources.of("train", "linear").gpu == 0
    assert resources.of("train", "linear").cpus == resources.of("train", "text").cpus == 1
    assert resources.of("prepare_data", "text").gpu == 0


def test_later_attempts_ask_for_more_memory_and_for_more_time_where_they_begin_anew(tmp_path: Path) -> None:
    resources = Resources(changed(tmp_path, "text", "train", value={"mem_mb": 5000, "runtime": 30}))
    assert [resources.amount("train", "text", "mem_mb", attempt) for attempt in (1, 2, 3)] == [5000, 10000, 15000]
    assert resources.amount("train", "text", "runtime", 3) == 30  # it goes on from its state
    first = resources.amount("generate", "text", "runtime", 1)
    assert resources.amount("generate", "text", "runtime", 2) == 2 * first
    assert resources.amount("train", "text", "gpu", 3) == 1


def test_memory_and_cpus_are_for_each_process_of_a_step_with_several_gpus(tmp_path: Path) -> None:
    resources = Resources(changed(tmp_path, "text", "train", value={"gpu": 4, "mem_mb": 5000, "cpus_per_gpu": 6}))
    assert resources.amount("train", "text", "mem_mb", 1) == 20_000
    assert resources.cpus("train", "text", has_gpus=True) == 24
    assert resources.cpus("train", "text", has_gpus=False) == 1
    assert resources.cpus("train", "linear", has_gpus=True) == 1  # which asks for none


def test_a_time_limit_follows_from_the_work_where_that_and_the_gpus_speed_are_known(tmp_path: Path) -> None:
    asked = {"gpu": 1, "runtime": 100, "tflops": 2}
    resources = Resources(changed(tmp_path, "text", value={"train": asked, "evaluate_part": asked}))
    hour = 2e12 * 3600
    start_up = resources.amount("evaluate_part", "text", "runtime", 1, 1.0)
    assert isinstance(start_up, int) and start_up < 100
    assert resources.amount("evaluate_part", "text", "runtime", 1, 5 * hour) == start_up - 1 + 300
    assert resources.amount("evaluate_part", "text", "runtime", 3, 5 * hour) == 3 * (start_up - 1 + 300)
    assert resources.amount("evaluate_part", "text", "runtime", 1, None) == 100
    assert resources.amount("train", "text", "runtime", 3, 5 * hour) == 100  # an attempt; the next one resumes
    assert resources.amount("train", "text", "runtime", 3, hour) == start_up - 1 + 60
    assert resources.amount("train", "linear", "runtime", 1, hour) == 10  # on a CPU


def test_gpus_are_requested_by_gres_where_the_file_says_so(tmp_path: Path) -> None:
    resources = Resources(changed(tmp_path, "gres", value="gpu:a100"))
    assert resources.amount("train", "text", "gres", 1) == "gpu:a100:1"
    assert resources.amount("train", "text", "gpu", 1) == 0
    assert resources.amount("train", "linear", "gres", 1) is None


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("text", "train", "gpus"), 2, r"text.train: unknown key 'gpus'; did you mean 'gpu'\?"),
        (("txt",), {"train": {"gpu": 1}}, r"unknown domain 'txt'; did you mean 'text'\? Allowed: default, .*text"),
        (("text", "training"), {}, r"text: unknown key 'training'; did you mean 'train'\?"),
        (("default", "train", "mem_mb"), "16 GB", r"default.train.mem_mb: '16 GB' is not an integer \(Megabytes"),
        (("text", "train"), {"gpu": -1}, r"text.train.gpu: -1 is not allowed: it must be at least 0"),
        (("gres",), "gpu:2:3", r"gres: 'gpu:2:3' is not allowed"),
        (("default", "train"), {"gpu": 1}, r"default.train lacks the key 'mem_mb'"),
    ],
)
def test_what_is_wrong_is_one_message(tmp_path: Path, keys: tuple[str, ...], value: Any, message: str) -> None:
    path = changed(tmp_path, *keys, value=value)
    with pytest.raises(UserError, match=message) as caught:
        Resources(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        Resources(tmp_path / "resources.yaml")


@pytest.mark.parametrize("domain", domain_names())
def test_only_steps_that_compute_on_a_gpu_request_one(domain: str) -> None:
    resources = Resources(FILE)
    for step in STEPS_ASKING:
        if is_module(module := step_module(step, domain)) and resources.of(step, domain).gpu:
            assert "selfloop.training.devices" in used_modules(module), f"{step} of {domain}"


def sharing(path: Path, config: dict[str, Any], **given: dict[str, Any]) -> None:
    """Check the study of a config against a file of requests and --set-resources."""
    Resources(path).check_sharing(check(config).experiments.values(), given)


def study_of(domain: str, **changes: Any) -> dict[str, Any]:
    name = {"text": "tinystories-gpt2-9m", "image": "celeba-vae", "molecule": "geom-drugs-geodiff", "linear": "linear"}[
        domain
    ]
    paper = yaml.safe_load((FILE.parent / "paper.yaml").read_text())
    return {"experiments": {name: paper["experiments"][name] | changes}}


@pytest.mark.parametrize("domain", ["text", "image", "molecule"])
def test_trainings_and_samplings_of_these_domains_may_have_several_gpus_and_evaluations_may_not(
    domain: str, tmp_path: Path
) -> None:
    study = study_of(domain, data=yaml.safe_load("{source: hub, name: a/b}")) if domain == "image" else study_of(domain)
    if domain == "molecule":
        (tmp_path / "a.sdf").touch()
        data = {"source": "sdf", "train": str(tmp_path / "a.sdf"), "test_fraction": 0.1, "validation_fraction": 0.1}
        study["experiments"]["geom-drugs-geodiff"]["data"] = data
    sharing(changed(tmp_path, domain, value={"train": {"gpu": 4}, "generate": {"gpu": 2}}), study)
    sharing(FILE, study, train={"processes": 2}, generate={"gpu": "2"})
    with pytest.raises(UserError, match=rf"evaluate_model: gpu: 2 is too many for the domain {domain}"):
        sharing(changed(tmp_path, domain, "evaluate_model", value={"gpu": 2}), study)


def test_a_step_that_cannot_be_shared_is_refused_while_planning(tmp_path: Path) -> None:
    sharing(FILE, study_of("linear"))
    with pytest.raises(
        UserError, match=r"train: gpu: 2 is too many for the domain linear, whose step runs in one process"
    ):
        sharing(changed(tmp_path, "linear", "train", "gpu", value=2), study_of("linear"))
    with pytest.raises(UserError, match="train: processes: 2 is too many for the domain linear"):
        sharing(FILE, study_of("linear"), train={"processes": 2})


def test_vllm_samples_a_part_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfloop.domains.text.problems.find_vllm", lambda: Path("python"))
    study = study_of("text", sampling=[{"engine": "vllm"}])
    sharing(FILE, study, train={"gpu": 2})
    with pytest.raises(UserError, match="generate: gpu: 2 is too many for the domain text"):
        sharing(FILE, study, generate={"gpu": 2})


def test_it_is_one_message_before_anything_runs() -> None:
    with pytest.raises(SystemExit, match="selfloop: resources: train: processes: 2 is too many for the domain linear"):
        plan_study(study_of("linear"), set_resources={"train": {"processes": 2}})

"""Facts about rules, one row each: the module that runs, and how its jobs behave."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

ANALYSIS = Path(__file__).parents[1] / "analysis"
DOMAINS = Path(__file__).parents[1] / "domains"


@dataclass(frozen=True)
class Step:
    """One rule.

    Attributes:
        rule: its name.
        module: the module with its run(job), below `selfloop`; {domain} stands for the domain's name.
        resumes: whether a retry resumes from a checkpoint.
        shares_gpus: whether one job may run in several processes, one per GPU.
        deletes_state: whether it deletes the saved state in its param `state` at its end. It starts after Snakemake has
            recorded the training or sampling, from when on no kill can cause that to be repeated.
    """

    rule: str
    module: str
    resumes: bool = False
    shares_gpus: bool = False
    deletes_state: bool = False


_DOMAIN = "domains.{domain}.steps"
_ROWS = (
    Step("prepare_data", f"{_DOMAIN}.prepare_data"),
    Step("train_tokenizer", f"{_DOMAIN}.train_tokenizer"),
    Step("tokenize", f"{_DOMAIN}.tokenize"),
    Step("measure_baseline", f"{_DOMAIN}.measure_baseline"),
    Step("concatenate", "data.training_set"),
    Step("train", f"{_DOMAIN}.train", resumes=True, shares_gpus=True),
    Step("generate", f"{_DOMAIN}.generate", shares_gpus=True),
    Step("evaluate_model", f"{_DOMAIN}.evaluate_model", deletes_state=True),
    Step("evaluate_part", f"{_DOMAIN}.evaluate_part", deletes_state=True),
    Step("score", f"{_DOMAIN}.score"),
    Step("measure_profile", f"{_DOMAIN}.measure_profile"),
    Step("simulate_chains", f"{_DOMAIN}.simulate_chains"),
    Step("collect_metrics", "data.collect"),
    Step("write_samples", f"{_DOMAIN}.write_samples"),
    Step("text_write_paper", "paper.write_paper"),
    Step("write_profile", "report.write_profile"),
    Step("write_report", "report.write_report"),
)
STEPS = {row.rule: row for row in _ROWS}
WITH_RESERVE = "_with_reserve"  # the end of the name of a rule's variant for real data that have a reserve


@cache
def has_step(domain: str, step: str) -> bool:
    """Whether a domain has one of the steps that it may leave out, as a module of that name."""
    return (DOMAINS / domain / "steps" / f"{step}.py").is_file()


def step_module(rule: str, domain: str | None = None) -> str:
    """The module that runs a job of `rule`, by its full name.

    A rule `<domain>_<analysis>` is one of the domain's own analyses; others show what every domain has, and are named
    like their module in `selfloop.analysis`.

    Raises:
        KeyError: there is no such rule.
    """
    if rule in STEPS:
        return f"selfloop.{STEPS[rule].module.format(domain=domain)}"
    if domain is not None and rule.startswith(f"{domain}_"):
        return f"selfloop.{_DOMAIN.format(domain=domain)}.{rule.removeprefix(f'{domain}_')}"
    if (ANALYSIS / f"{rule}.py").is_file():
        return f"selfloop.analysis.{rule}"
    raise KeyError(f"no rule '{rule}'")

"""What the Snakefile asks for while it is parsed: the study of a config, code digests, and the files to make."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from selfloop import config as configuration
from selfloop import study as studies
from selfloop.code import code_digest
from selfloop.domains.base import Domain
from selfloop.errors import UserError

SCRIPTS = Path(__file__).parent.parent / "scripts"


def expose_library() -> None:
    """Let the scripts of this workflow, which Snakemake runs in processes of their own, import this package."""
    library = str(SCRIPTS.parent)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != library]
    os.environ["PYTHONPATH"] = os.pathsep.join([library, *others])


class Plan(studies.Study):
    """A study, and what its rules need to know besides."""

    checked: Mapping[str, Any]

    def code(self, step: str, domain: Domain | None = None) -> str:
        """Digest of the code that a step runs; of a domain's own module where there is a domain."""
        return step_code(step, None if domain is None else domain.name)

    @property
    def measurement_files(self) -> list[str]:
        """What the evaluation rules write, each once."""
        models = [f"{studies.MODELS}/{name}/measurements.json" for name in self.models]
        return models + [f"{part.folder}.measurements.json" for part in self.parts.values()]

    @property
    def curve_files(self) -> list[str]:
        """What the train rule writes besides checkpoints."""
        return [f"{studies.MODELS}/{name}/learning_curve.parquet" for name in self.models]

    @property
    def domains(self) -> list[Domain]:
        """The domains of the study's experiments, each once, in their order."""
        return list({experiment.domain.name: experiment.domain for experiment in self.experiments}.values())

    def domain(self, name: str) -> Domain:
        """The domain of that name among those of the study."""
        return next(domain for domain in self.domains if domain.name == name)

    @property
    def formats(self) -> list[str]:
        """File formats of the figures."""
        formats: list[str] = self.checked["figures"]["formats"]
        return formats

    def title(self, figure: str) -> str:
        """The title that the config gives to a figure, or an empty one."""
        title: str = self.checked["figures"]["titles"].get(figure, "")
        return title

    def samples(self, domain: str) -> list[dict[str, Any]]:
        """Part 0 of every model of each experiment's first seed, by regime and iteration; iteration 1 once."""
        rows: dict[str, dict[str, Any]] = {}
        for chain in self.chains:
            experiment = chain.experiment
            if experiment.domain.name != domain or chain.seed != experiment.seeds[0]:
                continue
            for model, parts in zip(chain.models, chain.parts, strict=True):
                rows.setdefault(
                    parts[0].folder,
                    {
                        "folder": parts[0].folder,
                        "model": experiment.domain.model_title(experiment.model),
                        "regime": chain.regime if model.iteration > 1 else "real data",
                        "sampling": experiment.domain.sampling_title(chain.sampling),
                        "iteration": model.iteration,
                        "seed": chain.seed,
                    },
                )
        return list(rows.values())


@cache
def step_code(step: str, domain: str | None) -> str:
    """Digest of a step's code: the module that its rule's script runs, and all that it imports."""
    module = f"selfloop.{step}" if domain is None else f"selfloop.domains.{domain}.{step}"
    return code_digest(module)


def plan_study(config: Mapping[str, Any]) -> Plan:
    """The plan of a config.

    Raises:
        WorkflowError: the config is wrong; Snakemake shows the message without a traceback and exits with 1.
    """
    try:
        checked = configuration.check(config)
        plan = Plan(studies.build(checked).experiments)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    plan.checked = checked
    return plan

"""What jobs request: CPUs, GPUs, memory and time, where they differ by domain, by model or by attempt."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from selfloop.domains.cost import AnyEffort
from selfloop.errors import UserError
from selfloop.planning import study as studies
from selfloop.planning.resources import Resources
from selfloop.planning.shown import Wildcards
from selfloop.planning.work import effort_of, flops
from selfloop.processes.gpus import devices


class Requesting(studies.Study):
    """A study that knows what the jobs of each rule request."""

    resources: Resources
    submits: Callable[[], bool]  # whether jobs are submitted to SLURM; not known before the Snakefile is parsed

    def threads(self, step: str) -> object:
        """CPUs that a job of the rule `step` asks for, as its directive `threads` wants it."""
        if any(self.resources.of(step, domain.name).gpu for domain in self.domains):
            return Request(self, step, "cpus").of_job  # whether there are GPUs is not known yet
        return self._same(step, "cpus", Request(self, step, "cpus").of_job)

    def requests(self, step: str) -> dict[str, object]:
        """What a job of the rule `step` asks for, as its directive `resources` wants it."""
        names = ("gpu", "mem_mb", "runtime", *(["gres"] if self.resources.gres else []))
        asked = {what: self._asks(step, what) for what in names}
        if step == "train" and any(getattr(model.training, "micro_batch", None) for model in self.models.values()):
            asked["micro_batch"] = Request(self, step, "micro_batch").of_model
        return asked

    def _asks(self, step: str, what: str) -> object:
        asks = Request(self, step, what).of_attempt
        requests = [self.resources.of(step, domain.name) for domain in self.domains]
        if what in ("gres", "mem_mb") or (
            what == "runtime" and any(request.tflops is not None for request in requests)
        ):
            return asks
        grows = self.resources.amount(step, self.domains[0].name, what, 2) != getattr(requests[0], what)
        return asks if grows else self._same(step, what, asks)

    def _same(self, step: str, what: str, otherwise: object) -> object:
        """The number where it is the same in all domains of the study: Snakemake takes its time to call a function."""
        amounts = {getattr(self.resources.of(step, domain.name), what) for domain in self.domains}
        return amounts.pop() if len(amounts) == 1 else otherwise

    def flops(self, step: str, wildcards: Wildcards) -> float | None:
        """Floating-point operations of a job; None where they are not known."""
        if "model" not in wildcards.keys():  # noqa: SIM118
            return None
        model, part = self.models[wildcards.model], None
        if "part" in wildcards.keys():  # noqa: SIM118
            part = self.parts[wildcards.model, wildcards.part]
        known = self._efforts
        if model.experiment.setting_identity not in known:
            try:
                known[model.experiment.setting_identity] = effort_of(model.experiment)
            except (UserError, OSError):  # not prepared yet, of unknown size, or damaged, which the step itself reports
                known[model.experiment.setting_identity] = None
        effort = known[model.experiment.setting_identity]
        return None if effort is None else flops(step, effort, model, part)

    @cached_property
    def has_gpus(self) -> bool:
        """Whether this machine has GPUs that steps may use."""
        return bool(devices())

    @cached_property
    def _efforts(self) -> dict[str, AnyEffort | None]:
        return {}

    def domain_of(self, wildcards: Wildcards) -> str:
        """Name of the domain that a job belongs to."""
        if "model" in wildcards.keys():  # noqa: SIM118 (a list with names, not a mapping)
            return self.models[wildcards.model].domain.name
        if "baseline" in wildcards.keys():  # noqa: SIM118
            return self.baselines[wildcards.real, wildcards.baseline].domain.name
        if "profile" in wildcards.keys():  # noqa: SIM118
            return self.profiles[wildcards.profile].experiment.domain.name
        if "data" in wildcards.keys():  # noqa: SIM118
            return self.data[wildcards.data].domain.name
        return self.simulations[wildcards.simulation].domain.name


@dataclass(frozen=True, eq=False)  # hashed by identity: a plan has no hash
class Request:
    """What a rule asks for of one resource, where domains differ or it grows with the attempts.

    Its methods are what the directives take: `session.compat` spares Snakemake parsing their signatures for every job.
    """

    plan: Requesting
    step: str
    what: str

    def of_job(self, wildcards: Wildcards) -> int:
        """The CPUs of a job."""
        has_gpus = self.plan.submits() or self.plan.has_gpus
        return self.plan.resources.cpus(self.step, self.plan.domain_of(wildcards), has_gpus)

    def of_model(self, wildcards: Wildcards) -> int | None:
        """The value for a job of what is a key of its section `training`; none of its params, so no reason to rerun."""
        amount: int | None = getattr(self.plan.models[wildcards.model].training, self.what, None)
        return amount

    def of_attempt(self, wildcards: Wildcards, attempt: int) -> int | str | None:
        """The amount for an attempt at a job."""
        flops = self.plan.flops(self.step, wildcards) if self.what == "runtime" and self.plan.submits() else None
        return self.plan.resources.amount(self.step, self.plan.domain_of(wildcards), self.what, attempt, flops)

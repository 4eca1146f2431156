"""What each step asks of the machine that it runs on: GPUs, memory, time, CPUs; from config/resources.yaml.

None of it can change a result, so none of it is a param: a changed request reruns nothing.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from selfloop.config import models
from selfloop.config.load import check_plain, validated
from selfloop.config.messages import nearest
from selfloop.domains.protocol import domain_names, load_domain
from selfloop.errors import UserError
from selfloop.jobs.steps import STEPS

STEPS_ASKING = frozenset(models.Requests.model_fields)
START_UP = 30  # minutes of a time limit for what no cost counts: reading data, compiling, a slow disk


class Resources:
    """A table of requests by domain and step.

    Raises:
        UserError: the file cannot be read, or holds what is not allowed.
    """

    def __init__(self, path: Path) -> None:
        try:
            table = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"{path}: {' '.join(str(error).split())}") from error
        try:
            check_plain(table)
            checked = validated(models.Resources, table)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        names = {"default", *domain_names()}
        for domain in table.keys() - {"gres", *names}:
            raise UserError(f"{path}: unknown domain '{domain}'{nearest(domain, sorted(names))}")
        self.gres = checked.gres
        if self.gres is not None and not re.fullmatch(r"gpu(:\w*[A-Za-z]\w*)?", self.gres):
            raise UserError(f"{path}: gres: '{self.gres}' is not allowed: `gpu` or `gpu:MODEL`, such as gpu:a100.")

        own = checked.model_extra or {}
        self._asked = {
            (step, domain): _merged(getattr(checked.default, step), getattr(own.get(domain), step, None))
            for step in STEPS_ASKING
            for domain in names
        }

    def of(self, step: str, domain: str) -> models.WholeRequest:
        """What a step of a domain asks for: what the file says of the domain, else of all of them."""
        return self._asked[step, domain]

    def check_sharing(
        self, experiments: Iterable[models.Experiment], given: Mapping[str, Mapping[str, object]]
    ) -> None:
        """Refuse several GPUs or processes for a step that cannot share its jobs among them.

        Args:
            experiments: of the study.
            given: what Snakemake's option --set-resources has added, by step.

        Raises:
            UserError: it names the step and the domain.
        """
        for experiment in experiments:
            shared = set(load_domain(experiment.domain).shared_steps(experiment))
            for step in STEPS_ASKING - shared:
                asked = {"gpu": self.of(step, experiment.domain).gpu, **given.get(step, {})}
                for what, count in asked.items():
                    if what in ("gpu", "processes") and str(count).isdecimal() and int(str(count)) > 1:
                        raise UserError(
                            f"resources: {step}: {what}: {count} is too many for the domain {experiment.domain}, whose "
                            "step runs in one process, on one GPU at most; config/resources.yaml has domains apart."
                        )

    def cpus(self, step: str, domain: str, has_gpus: bool) -> int:
        """CPUs of a step, which on a machine with GPUs has those that it asks for, a process for each."""
        asked = self.of(step, domain)
        return asked.gpu * (asked.cpus_per_gpu or asked.cpus) if has_gpus and asked.gpu else asked.cpus

    def amount(self, step: str, domain: str, what: str, attempt: int, flops: float | None = None) -> int | str | None:
        """How much of `what` an attempt asks for: memory, and time of steps that restart, grow with every attempt.

        Args:
            step, domain: the step.
            what: "gpu", "gres", "mem_mb" or "runtime".
            attempt: from 1.
            flops: floating-point operations of the job, where they are known: its time limit follows from them, but
                that no attempt at a step that resumes is longer than `runtime`.
        """
        asked = self.of(step, domain)
        gpus = asked.gpu
        if what == "gres":
            return f"{self.gres}:{gpus}" if gpus else None
        if what == "gpu":
            return 0 if self.gres else gpus
        if what == "mem_mb":
            return asked.mem_mb * max(1, gpus) * attempt  # a process for each GPU
        minutes, resumes = asked.runtime, STEPS[step].resumes
        if flops is not None and gpus and asked.tflops is not None:
            worked = START_UP + math.ceil(flops / (1e12 * asked.tflops) / gpus / 60)
            minutes = min(minutes, worked) if resumes else worked
        return minutes if resumes else minutes * attempt


def _merged(default: models.WholeRequest, own: models.Request | None) -> models.WholeRequest:
    return default if own is None else default.changed(**own.model_dump(exclude_none=True))

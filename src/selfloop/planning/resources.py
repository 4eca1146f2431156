"""What each step asks of the machine that it runs on: GPUs, memory, time, CPUs; from config/resources.yaml.

None of it can change a result, so none of it is a param: a changed request reruns nothing.
"""

from collections.abc import Mapping
from pathlib import Path

import yaml

from selfloop.config import models
from selfloop.config.load import check_plain, validated
from selfloop.config.messages import nearest
from selfloop.domains.protocol import domain_names
from selfloop.errors import UserError
from selfloop.jobs.steps import STEPS


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
        for domain in table.keys() - {"default", *domain_names()}:
            raise UserError(f"{path}: unknown domain '{domain}'{nearest(domain, ['default', *domain_names()])}")
        self._table: Mapping[str, Mapping[str, Mapping[str, int]]] = checked.model_dump(exclude_none=True)

    def of(self, step: str, domain: str) -> dict[str, int]:
        """What a step of a domain asks for: what the file says of the domain, else of all of them."""
        return {**self._table["default"][step], **self._table.get(domain, {}).get(step, {})}

    def amount(self, step: str, domain: str, what: str, attempt: int) -> int:
        """How much of `what` an attempt asks for: memory, and time where it begins anew, grow with every attempt."""
        amount = self.of(step, domain)[what]
        grows = what == "mem_mb" or (what == "runtime" and not STEPS[step].resumes)
        return amount * attempt if grows else amount

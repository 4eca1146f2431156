"""What training sets are made of, and how much of it Snakemake has to know.

A training set of `accumulate` is made of parts of all earlier models: those of n iterations have n²/2 sources. But the
model that has sampled the newest ones was itself trained on the older ones. With the newest alone as inputs, Snakemake
finds the same jobs in the same order, and reruns the same.
"""

import os

from selfloop.data.regimes import REAL
from selfloop.planning import paths
from selfloop.planning.artifacts import Model
from selfloop.planning.study import Study

Files = dict[str, list[str]]


class Sources:
    """The sources of a study's training sets. Whether one exists is looked up once."""

    def __init__(self, study: Study) -> None:
        self._samplers = {part.folder: study.models[part.model] for part in study.parts.values()}
        self._samplers |= {score.file: study.models[score.part.model] for score in study.scores.values()}
        self._exists: dict[str, bool] = {}

    def of(self, model: Model) -> Files:
        """All that the rows of a model's training set are taken from and chosen by, in the order of its takes."""
        scores = {"scores": [score.file for score in model.scores]} if model.scores else {}
        return {"parts": [folder for _, folder in model.takes], **scores}

    def inputs(self, model: Model) -> Files:
        """Those from which no other of them is made, each once.

        Snakemake does not look behind what exists. Sources that are gone and that it would not come to are inputs as
        well, `deleted` ones, so that they are made again. They are no part of its records (see `session.compat`), by
        which what is on the disk would rerun what is finished.
        """
        behind, deleted = self._behind(model)
        found = {
            name: list(dict.fromkeys(file for file in files if file not in behind))
            for name, files in self.of(model).items()
        }
        if deleted:
            found["deleted"] = sorted(deleted)
        return {name: files for name, files in found.items() if files}

    def _behind(self, model: Model) -> tuple[set[str], set[str]]:
        """The sources from which others are made, and those of them that are gone behind something that exists."""
        behind: set[str] = set()
        deleted: set[str] = set()
        older = self._all(model) & self._samplers.keys()
        exists = False  # something between them and the training set
        while older and (newest := self._newest(model)) is not None:
            between = [file for file in self._all(model) if self._samplers.get(file) is newest]
            between += [paths.checkpoint(newest.name), paths.training_set(newest.name)]
            exists = exists or any(map(self._is_there, between))
            older = {file for file in older if self._samplers[file].iteration < newest.iteration}
            found = older & self._all(newest)
            behind |= found
            deleted |= {file for file in found if exists and not self._is_there(file)}
            older -= found
            model = newest
        return behind, deleted

    def _all(self, model: Model) -> set[str]:
        return {file for files in self.of(model).values() for file in files}

    def _newest(self, model: Model) -> Model | None:
        """The newest of the models that have sampled its rows; None where all rows are real."""
        take, folder = max(model.takes, key=lambda pair: pair[0].iteration)
        return None if take.iteration == REAL else self._samplers[folder]

    def _is_there(self, file: str) -> bool:
        if file not in self._exists:
            self._exists[file] = os.path.exists(file)
        return self._exists[file]

"""`selfloop prune`: delete what no later step needs, after showing how much that frees.

Deleted: checkpoints between a chain's first and last iteration, once everything made from them exists; resume
checkpoints of trainings whose models are evaluated, and slices of parts that are; scratch files of killed steps; and
what no longer belongs to the study. Kept: every data set, measurement and learning curve, what figures and tables show,
the first and the last checkpoint of every chain, and those from which one more iteration would sample further parts. So
figures can be drawn again, and iterations, seeds, regimes and temperatures added, without repeating a training. Only
changed evaluation code has to train the deleted models again.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from selfloop.checksums import hidden_sibling, record_file
from selfloop.errors import UserError
from selfloop.jobs.record import is_running, last_attempt, recorded_logs
from selfloop.numbers import size
from selfloop.operations.status import steps
from selfloop.planning import paths
from selfloop.planning.paths import DATA, LOGS, MODELS, PROFILES, RESULTS, SIMULATIONS, STATE
from selfloop.planning.rules import Plan
from selfloop.planning.study import Study
from selfloop.session import folder_lock

DELETING = ".deleting"  # the end of the name of what is being deleted
MODEL = re.compile(r"[^/]+/seed\d+/iteration\d+-[0-9a-f]+")  # a model's name, in any path


@dataclass(frozen=True)
class Item:
    """Something to delete, and why."""

    path: Path
    why: str
    size: int  # bytes


def prunable(plan: Plan) -> list[Item]:
    """What no later step of a study and no running step needs, below the current folder; no item is inside another.

    All files of a model stay while one of its steps runs, and those of no model while a step of no model runs.
    """
    busy = {_model(log) for log in running_steps()}
    # What a model of another study is made from is not known here.
    strangers = _strangers(plan) if busy <= plan.models.keys() | {None} else ()
    found: dict[Path, Item] = {}
    for path, why in (*_checkpoints(plan), *strangers, *_states(plan), *_scratch()):
        if _model(path) not in busy and not any(parent in found for parent in (path, *path.parents)):
            found[path] = Item(path, why, disk_usage(path))
    return list(found.values())


def running_steps() -> list[Path]:
    """The logs of running steps: jobs of a cluster survive their Snakemake.

    Where file locks do not work, every attempt without an end counts.
    """
    logs = recorded_logs(Path(LOGS))
    if folder_lock.locks_work():
        return [log for log in logs if is_running(log)]
    last = {log: last_attempt(log) for log in logs}
    return [log for log, attempt in last.items() if attempt and not attempt.done and not attempt.failed]


def _model(path: Path) -> str | None:
    """The name of the model that a file or its folder belongs to."""
    found = MODEL.search(str(path))
    return found.group() if found else None


def _checkpoints(plan: Plan) -> Iterator[tuple[Path, str]]:
    kept = {Path(path) for path in plan.shows.kept}
    # Parts of a longer study do not belong to this one and are deleted; the models to sample them again from stay.
    kept |= {Path(paths.checkpoint(model)) for model, _ in _longer(plan).parts.keys() - plan.parts.keys()}
    kept |= {
        Path(paths.checkpoint(model.start))
        for name, model in plan.models.items()
        if model.start is not None and not Path(paths.learning_curve(name)).exists()
    }
    unscored = [score for score in plan.scores.values() if not Path(score.file).exists()]
    kept |= {Path(paths.checkpoint(score.under)) for score in unscored if score.under is not None}
    finished: set[str] = set()
    for chain in plan.chains:
        kept |= {Path(paths.checkpoint(model.name)) for model in (chain.models[0], chain.models[-1])}
        for model, jobs in zip(chain.models, steps(chain), strict=True):
            if all(job.state == "done" for job in jobs):
                finished.add(model.name)
    # A model of several chains that is finished in one may still have parts to sample in another.
    for chain in plan.chains:
        for model, jobs in zip(chain.models, steps(chain), strict=True):
            if any(job.state != "done" for job in jobs):
                finished.discard(model.name)
        # Something is still to be measured on all of its models.
        if chain.profile is not None and not Path(paths.profile(chain.profile)).exists():
            finished.difference_update(model.name for model in chain.models)
    for name in sorted(finished):
        path = Path(paths.checkpoint(name))
        if path not in kept and path.exists():
            yield path, "checkpoints of finished iterations between the first and the last"


def _longer(study: Study) -> Study:
    """The same study with one more iteration in every regime."""
    iterations = [{regime: count + 1 for regime, count in e.iterations.items()} for e in study.experiments]
    return Study(tuple(replace(e, iterations=counts) for e, counts in zip(study.experiments, iterations, strict=True)))


def _strangers(plan: Plan) -> Iterator[tuple[Path, str]]:
    why = "of other studies or earlier settings"
    models = {Path(paths.model(name)) for name in plan.models}
    parts = {Path(part.folder) for part in plan.parts.values()}
    scores = {Path(score.file) for score in plan.scores.values()}
    yield from (
        (path, f"models {why}") for path in sorted(Path(MODELS).glob("*/seed*/iteration*")) if path not in models
    )
    for path in sorted(Path(MODELS).glob("*/seed*/iteration*/parts/*")):
        if path.name.startswith(".") or path in scores:
            continue
        if path.with_name(path.name.removesuffix(".measurements.json")) not in parts:
            yield path, f"sampled data {why}"
    real = {Path(DATA, experiment.real_name) for experiment in plan.experiments}
    tokenizers = {Path(e.tokenizer_file) for e in plan.experiments if e.tokenizer_file is not None}
    yield from ((path, f"data {why}") for path in sorted(Path(DATA).glob("[!.]*")) if path.name not in plan.data)
    for path in sorted([*Path(DATA).glob("*/tokenized-*"), *Path(DATA).glob("*/tokenizer-*.json")]):
        if path not in real | tokenizers:
            yield path, f"data {why}"
    baselines = {Path(paths.baseline(*names)) for names in plan.baselines}
    yield from ((path, f"data {why}") for path in sorted(Path(DATA).rglob("baseline-*.json")) if path not in baselines)
    profiles = {Path(file) for file in plan.profile_files}
    found = sorted(Path(PROFILES).glob("*/seed*.parquet"))
    yield from ((path, f"profiles {why}") for path in found if path not in profiles)
    simulations = {Path(file) for file in plan.simulation_files}
    yield from (
        (path, f"simulations {why}") for path in sorted(Path(SIMULATIONS).glob("[!.]*")) if path not in simulations
    )


def _states(plan: Plan) -> Iterator[tuple[Path, str]]:
    for path in sorted(Path(STATE).glob("*/seed*/iteration*")):
        name = str(path.relative_to(Path(STATE)))
        if name not in plan.models or _is_evaluated(name):
            yield path, "resume checkpoints that no training needs"
    for path in sorted(Path(STATE).glob("parts/*/seed*/iteration*/*")):
        part = plan.parts.get((str(path.parent.relative_to(Path(STATE, "parts"))), path.name))
        if part is None or all(_is_later(file, part.folder) for file in part.measurements or [part.folder]):
            yield path, "slices of samples that no sampling needs"


def _is_evaluated(model: str) -> bool:
    """Whether a model was evaluated after its training, which Snakemake has recorded by then and does not repeat."""
    measured, curve = paths.model_measurements(model), paths.learning_curve(model)
    return Path(paths.checkpoint(model)).exists() and _is_later(measured, curve)


def _is_later(measured: str, made: str) -> bool:
    """Whether both files exist, and `measured` was written last."""
    after, before = Path(measured), Path(made)
    return after.exists() and before.exists() and after.stat().st_mtime_ns >= before.stat().st_mtime_ns


def _scratch() -> Iterator[tuple[Path, str]]:
    seen = set()
    for place, folders, files in os.walk(RESULTS, followlinks=True):  # each folder once, also linked ones
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(folders)
        names = [] if real in seen else sorted([*folders, *files])
        recorded = {record_file(Path(name)).name for name in names}
        for name in names:
            if name.startswith(".") and name.endswith((".partial", DELETING)):
                yield Path(place, name), "scratch files of killed steps, and what was being deleted"
            elif name.startswith(".") and name.endswith(".checksums") and name not in recorded:
                yield Path(place, name), "checksums of what is gone"
        seen.add(real)


def disk_usage(path: Path) -> int:
    """Bytes of a file, or of all files below a folder, without links."""
    if path.is_symlink():
        return 0
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def delete(item: Item) -> None:
    """Delete an item, its checksums, and the folders around it that become empty; of a link, the link alone.

    A folder is renamed before: a kill leaves none that looks whole and is not.

    Raises:
        UserError: it cannot be deleted.
    """
    path = item.path
    if not os.path.lexists(path):  # went with another item
        return
    try:
        if path.is_dir() and not path.is_symlink():
            aside = path if path.suffix == DELETING else hidden_sibling(path, DELETING.removeprefix("."))
            if aside != path:
                if aside.exists():
                    shutil.rmtree(aside)
                path.rename(aside)
                record_file(path).unlink(missing_ok=True)
            shutil.rmtree(aside)
        else:
            path.unlink()
            record_file(path).unlink(missing_ok=True)
        for parent in path.parents:
            if parent == Path(RESULTS) or parent.is_symlink() or any(parent.iterdir()):
                return
            parent.rmdir()
    except OSError as error:
        raise UserError(f"{path} cannot be deleted: {error.strerror}") from error


def _agreed() -> bool:
    print("Delete all this? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def prune(plan: Plan, ask: bool) -> bool:
    """Show, ask, delete; meanwhile no Snakemake can begin in this folder. Returns whether the user agreed.

    Raises:
        UserError: a Snakemake works there, or one of another machine has left its locks; nothing there is of this
            study; or something cannot be deleted.
    """
    _hold_folder()
    try:
        _check_is_there(plan)
        return _prune(plan, ask)
    finally:
        folder_lock.release()


def _check_is_there(plan: Plan) -> None:
    """Raise `UserError` where only other studies have models or simulations: the config is hardly the one meant."""
    own = [*map(Path, plan.simulation_files), *(Path(paths.model(name)) for name in plan.models)]
    others = [*Path(MODELS).glob("*/seed*/iteration*"), *Path(SIMULATIONS).glob("[!.]*")]
    if others and not any(path.exists() for path in own):
        raise UserError(
            f"nothing was deleted: {RESULTS} holds no model of this study, and {len(others)} of others, such as "
            f"{min(others)}. Name the config of what is to stay with --configfile."
        )


def _hold_folder() -> None:
    """Hold the current folder as a Snakemake does.

    Raises:
        UserError: a Snakemake works there, or one of another machine has left its locks.
    """
    folder_lock.clear_stale_locks()  # before the claim, which forgets whose they are
    try:
        if any(Path(folder_lock.LOCKS).glob("*")):
            raise UserError(folder_lock.refusal())
        folder_lock.claim()
    except UserError as error:
        raise UserError(f"nothing was deleted: {error}") from error


def _prune(plan: Plan, ask: bool) -> bool:
    for log in running_steps():
        print(f"{log}: this step still runs. What it may need stays.")
    items = prunable(plan)
    if not items:
        print("There is nothing to delete.")
        return True
    for why in dict.fromkeys(item.why for item in items):
        own = [item for item in items if item.why == why]
        print(f"{size(sum(item.size for item in own)):>12}  {len(own)} {why}")
        for item in own[:5]:
            print(f"{'':14}{item.path}")
        if len(own) > 5:
            print(f"{'':14}and {len(own) - 5} more")
    print(f"{size(sum(item.size for item in items)):>12}  in all, of {size(disk_usage(Path(RESULTS)))}")
    if ask:
        if not _agreed():
            print("Nothing was deleted.")
            return False
        still = {item.path for item in prunable(plan)}  # a cluster job may have started meanwhile
        items = [item for item in items if item.path in still]
    for item in items:
        delete(item)
    print("Deleted.")
    return True

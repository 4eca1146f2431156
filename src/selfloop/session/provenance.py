"""Where results come from: versions, hardware, commit, config, and every artifact's seed, parents and machine.

Written beside the results at the end of every run, also a failed one. Not an output of a rule: it contains times and
names of machines, on which nothing may depend.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import selfloop
from selfloop.data.atomic import atomic_file
from selfloop.identity import digest
from selfloop.jobs.record import last_attempt
from selfloop.planning import paths
from selfloop.planning.paths import RESULTS
from selfloop.planning.rules import Plan
from selfloop.planning.study import Study
from selfloop.processor import auto_precision, processor
from selfloop.versions import versions

FILE = paths.PROVENANCE
RECORDS = Path(".snakemake/metadata")


def write(study: Plan, checked: Mapping[str, object], files: list[str], complete: bool) -> None:
    """Write the provenance of a study's results in the current folder; `files` are its config files."""
    if not Path(RESULTS).is_dir():
        return
    record = {
        "complete": complete,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "config": {"digest": digest(checked), "files": files, "content": checked},
        "code": {**_code(Path(selfloop.__file__).parents[2]), "steps": study.step_codes()},
        "versions": versions(),
        "machine": _machine(),
        "command": sys.argv,
        "artifacts": _artifacts(study),
    }
    with atomic_file(Path(FILE), checksum=False) as scratch:
        scratch.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def changes(study: Plan) -> list[str]:
    """What a user should know before results are added to those in the current folder; messages."""
    try:
        before = json.loads(Path(FILE).read_text(encoding="utf-8"))
        held = list(before["config"]["content"]["experiments"])
        old_versions = dict(before["versions"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or not ours
        return []
    found = []
    if not {experiment.name for experiment in study.experiments} & set(held):
        found.append(
            f"{RESULTS} holds another study, of {', '.join(held)}. Its models and data stay; its tables and figures "
            "are replaced by this study's. To keep both, use another folder (--directory)."
        )
    steps, old_steps = study.step_codes(), before.get("code", {}).get("steps", {})
    changed = [step for step, code in steps.items() if old_steps.get(step, code) != code]
    if changed and not any(path.is_file() for path in RECORDS.rglob("*")):
        found.append(
            f"{RESULTS} was made by other code ({', '.join(changed)}), and this folder has no records of it "
            f"(.snakemake): models and data that are there are reused as they are. To make all with this code, delete "
            f"{RESULTS}."
        )
    now = versions()
    other = [f"{name} {old}, now {now[name]}" for name, old in old_versions.items() if now.get(name, old) != old]
    if other:
        found.append(
            f"{RESULTS} was begun with other versions: {'; '.join(other)}. Existing results stay; new ones may "
            "differ in their last digits from those of a single version. `make clean` starts over."
        )
    return found


def _code(root: Path) -> dict[str, object]:
    """The commit of the working tree, and whether there are uncommitted changes; None outside a git repository."""
    if shutil.which("git") is None or not (root / ".git").exists():
        return {"commit": None, "changed": None}
    answers = []
    for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        done = subprocess.run(["git", "-C", str(root), *words], check=False, capture_output=True, encoding="utf-8")
        if done.returncode != 0:
            return {"commit": None, "changed": None}
        answers.append(done.stdout.strip())
    return {"commit": answers[0], "changed": bool(answers[1])}


def _machine() -> dict[str, object]:
    """The machine that Snakemake runs on; on a cluster, artifacts name their own nodes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus: list[str] = []
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, check=False, capture_output=True, encoding="utf-8")
        gpus = done.stdout.splitlines() if done.returncode == 0 else []
    return {
        "name": platform.node(),
        "system": platform.platform(),
        "cpu": processor().model,
        "cpu_flags": processor().special,
        "auto_precision": auto_precision(),
        "cpus": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "gpus": gpus,
    }


def _artifacts(study: Study) -> dict[str, dict[str, object]]:
    """By path: seed, parents, where the last attempt ran, and what it computed on."""
    found: dict[str, dict[str, object]] = {}
    for name in study.data:
        found[f"{paths.DATA}/{name}"] = {"kind": "data", "parents": [], **_place(paths.log("prepare_data", name))}
    for name, model in study.models.items():
        parents = [*dict.fromkeys(folder for _, folder in model.takes), *model.tokenizer_input.values()]
        parents += [paths.checkpoint(one) for one in (model.start, model.base) if one is not None]
        parents += [score.file for score in model.scores]
        found[paths.model(name)] = {
            "kind": "model",
            "seed": model.seed,
            "iteration": model.iteration,
            "identity": model.identity,
            "parents": parents,
            **_place(paths.log("train", name)),
        }
    for part in study.parts.values():
        found[part.folder] = {
            "kind": "part",
            "seed": study.models[part.model].seed,
            "part": part.index,
            "identity": part.identity,
            "parents": [paths.model(part.model)],
            **_place(paths.log("generate", part.model, part.name)),
        }
    for name, simulation in study.simulations.items():
        found[simulation.file] = {
            "kind": "simulation",
            "settings": simulation.settings,
            "parents": [],
            **_place(paths.log("simulate_chains", name)),
        }
    return {path: {**record, "made": Path(path).exists()} for path, record in found.items()}


def _place(log: str) -> dict[str, object]:
    """Where the last attempt of the step with this log ran, and the device, driver, dtype and so on that it used."""
    attempt = last_attempt(Path(log))
    device = None if attempt is None or attempt.device is None else asdict(attempt.device)
    return {"ran_on": None if attempt is None else attempt.begin.place, "device": device}

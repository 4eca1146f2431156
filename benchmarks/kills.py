"""What a kill costs a training, and what a resume checkpoint costs.

    python benchmarks/kills.py [--kills 6] [--every 2.0]

Trains the same model undisturbed and with kills (kill -9 of all processes, at evenly spread times, each followed by the
same command), and prints the time lost per kill beside its bound: the seconds between two resume checkpoints, and the
start-up. Then it writes resume checkpoints of models of several sizes. About four minutes on two idle cores.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
from selfloop.jobs.record import attempts, recorded_logs  # noqa: E402
from selfloop.planning import paths  # noqa: E402
from selfloop.planning import study as studies  # noqa: E402
from selfloop.planning.check import check  # noqa: E402
from selfloop.training.resume import ResumeCheckpoint  # noqa: E402

STUDY = {
    "experiments": {
        "one": {
            "domain": "text",
            "data": {"source": "packaged", "name": "shakespeare", "min_characters": 80, "rows": 1500, "test_rows": 50},
            "model": {"architecture": "gpt2", "hidden_size": 64, "layers": 2, "heads": 2, "context": 64},
            "training": {"epochs": 4, "batch_size": 8, "learning_rate": 1.0e-3, "evaluations": 1},
            "regimes": ["replace"],
            "iterations": 1,
            "seeds": [0],
        }
    }
}  # fmt: skip


def start(folder: Path, target: str) -> "subprocess.Popen[bytes]":
    """The command that makes the checkpoint."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / "study.yaml"), "--cores", "1", "--quiet", "all", "--", target]
    return subprocess.Popen(command, process_group=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(folder: Path, target: str, kills: list[float]) -> float:
    """Seconds to the end, over all starts; one after each of `kills` seconds of training."""
    log = next(iter((folder / "results/logs/train").rglob("*.log")), None)
    began = time.perf_counter()
    for delay in [*kills, None]:
        process = start(folder, target)
        if delay is not None:
            before = trained(folder)
            while trained(folder) == before and process.poll() is None:
                time.sleep(0.02)
            time.sleep(delay)
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        if delay is None and code != 0:
            raise SystemExit(f"the training failed; see {log}")
    return time.perf_counter() - began


def trained(folder: Path) -> int:
    """How many attempts at the training have come as far as its first step."""
    logs = recorded_logs(folder / "results/logs/train")
    return sum(attempt.progress is not None for log in logs for attempt in attempts(log))


def kills(number: int, every: float) -> None:
    """Compare a killed training with one that was not."""
    study = STUDY | {"checkpointing": {"every_seconds": every}}
    plan = studies.build(check(study))
    (model,) = plan.models.values()
    target = paths.checkpoint(model.name)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
        assert start(folder, paths.training_set(model.name)).wait() == 0
        undisturbed = run(folder, target, [])
        subprocess.run(["rm", "-r", folder / target], check=True)
        nothing = time.perf_counter()
        assert start(folder, paths.training_set(model.name)).wait() == 0  # is there: a bare start
        bare = time.perf_counter() - nothing
        start_up = startup(folder)
        dice = random.Random(0)
        killed = run(folder, target, [dice.uniform(0.5, 2 * every) for _ in range(number)])
    lost = (killed - undisturbed) / number
    print(f"undisturbed {undisturbed:.1f} s; with {number} kills {killed:.1f} s: {lost:.1f} s lost per kill")
    bound = every + bare + start_up
    print(
        f"bound {bound:.1f} s: {every:g} s between saves, {bare:.1f} s start of Snakemake, {start_up:.1f} s of the step"
    )


def startup(folder: Path) -> float:
    """Seconds from the job's begin to its work."""
    (log,) = recorded_logs(folder / "results/logs/train")
    done = attempts(log)[-1].done
    assert done is not None
    return done.start_up


def saves() -> None:
    """Time the saving of states."""
    print(f"\n{'parameters':>12} {'state':>9} {'seconds to save':>16} {'of 60 s':>8} {'at most':>8}")
    for parameters in (1_000_000, 8_890_880, 41_755_136):
        with tempfile.TemporaryDirectory() as name:
            state = ResumeCheckpoint(Path(name) / "state", "benchmark", 60.0)
            tensors = {kind: torch.randn(parameters) for kind in ("master", "first_moment", "second_moment")}
            state.save(tensors, 0, [])
            times = []
            for _ in range(3):
                began = time.perf_counter()
                state.save(tensors, 0, [])
                times.append(time.perf_counter() - began)
        seconds = sorted(times)[1]
        share = seconds / max(60.0, seconds / 0.02)
        print(f"{parameters:>12,} {12 * parameters / 1e6:>6.0f} MB {seconds:>16.2f} {seconds / 60:>8.2%} {share:>8.2%}")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--every", type=float, default=2.0)
    arguments = parser.parse_args()
    kills(arguments.kills, arguments.every)
    saves()


if __name__ == "__main__":
    main()

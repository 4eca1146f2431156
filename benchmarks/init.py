"""Whether a study that `selfloop init` writes takes the minutes asked for: runs it as it is written, and compares.

    python benchmarks/init.py --minutes 2 stories.txt faces.zip conformers.sdf.gz "chat.jsonl"

Each argument is one study; separate several files of one by commas. On a machine with other load, the CPU time counts:
minutes times the cores that the study keeps busy.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from selfloop.numbers import table

ROOT = Path(__file__).parents[1]
EVERY = 0.5  # seconds between two looks at the processes


def run(command: list[str], folder: Path) -> tuple[int, float, float]:
    """Exit code, seconds and CPU seconds of a command and all that it starts."""
    began, used = time.monotonic(), dict[tuple[int, float], float]()
    with (folder / "log.txt").open("w") as log:
        process = psutil.Popen(command, cwd=folder, stdout=log, stderr=log)
        while process.poll() is None:
            for each in [process, *process.children(recursive=True)]:
                try:
                    times = each.cpu_times()
                    used[each.pid, each.create_time()] = times.user + times.system
                except psutil.NoSuchProcess:
                    continue
            time.sleep(EVERY)
    return process.returncode, time.monotonic() - began, sum(used.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--minutes", type=float, default=2.0)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    rows = [["data", "exit code", "minutes", "CPU minutes", f"of {arguments.minutes:g} on {cores} cores"]]
    for named in arguments.data:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = [str(Path(file).resolve()) if Path(file).exists() else file for file in named.split(",")]
            asked = ["--minutes", f"{arguments.minutes:g}", "--output", "study.yaml"]
            subprocess.run([sys.executable, "-m", "selfloop", "init", *files, *asked], cwd=folder, check=True)
            command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
            code, took, used = run([*command, "--cores", "all", "--configfile", "study.yaml"], folder)
            share = used / 60 / (arguments.minutes * cores)
            rows.append([Path(files[0]).name, str(code), f"{took / 60:.1f}", f"{used / 60:.1f}", f"{share:.0%}"])
            if code:
                print((folder / "log.txt").read_text()[-3000:])
    print(table(rows, right=range(1, 5)))


if __name__ == "__main__":
    main()

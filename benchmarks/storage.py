"""How the storage of an accumulate chain grows with its iterations: bytes at 8 iterations over bytes at 4.

    python benchmarks/storage.py

Two small studies run in temporary folders. Disk usage below results/ is counted: every file once, links as links. A
workflow that copied rows would reach (8·9/2)/(4·5/2) = 3.6; one that does not, at most 2.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def config(iterations: int) -> dict[str, object]:
    """One accumulate chain of the smallest model on 2,000 documents."""
    experiment = {
        "domain": "text",
        "data": {"source": "packaged", "name": "shakespeare", "min_characters": 80, "rows": 2000, "test_rows": 16},
        "model": {"architecture": "gpt2", "hidden_size": 16, "layers": 1, "heads": 2, "context": 64, "vocabulary": 300},
        "training": {"epochs": 0.1, "batch_size": 8, "evaluations": 1},
        "regimes": ["accumulate"],
        "iterations": iterations,
        "seeds": [0],
    }
    return {"experiments": {"chain": experiment}}


def bytes_of_chain(iterations: int) -> tuple[int, int]:
    """Bytes of the real data, parts and training sets, and of all results, after the chain has run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(yaml.safe_dump(config(iterations)), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", name]
        command += ["results/metrics.parquet", "--configfile", str(folder / "config.yaml"), "--cores", "all"]
        subprocess.run([*command, "--quiet", "all"], cwd=ROOT, check=True)
        files = [path for path in (folder / "results").rglob("*") if path.is_symlink() or path.is_file()]
        sizes = {path.relative_to(folder).as_posix(): path.lstat().st_size for path in files}
    data = sum(
        size for path, size in sizes.items() if "/parts/" in path or "/training-set/" in path or "/data/" in path
    )
    return data, sum(sizes.values())


def main() -> None:
    """Run both chains and print the ratios."""
    (data4, all4), (data8, all8) = bytes_of_chain(4), bytes_of_chain(8)
    limit = 1.1 * 8 / 4
    print(f"data: {data4:,} bytes at n=4, {data8:,} at n=8, ratio {data8 / data4:.2f} (limit {limit:.2f})")
    print(f"all of results/: {all4:,} bytes at n=4, {all8:,} at n=8, ratio {all8 / all4:.2f} (limit {limit:.2f})")


if __name__ == "__main__":
    main()

"""The versions of what computes the results."""

import importlib.metadata
import platform
from collections.abc import Iterable

PACKAGES = (
    "torch", "numpy", "pyarrow", "pandas", "transformers", "tokenizers", "safetensors", "datasets", "rdkit",
    "matplotlib", "bokeh", "snakemake", "snakemake-executor-plugin-slurm",
)  # fmt: skip


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The version of Python and of each package that is installed."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

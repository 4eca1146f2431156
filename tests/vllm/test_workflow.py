"""A whole study whose documents vLLM samples: the rule generate alone uses vLLM's environment."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from selfloop.data.shards import shard_paths
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "tests/studies/vllm.yaml"


def snakemake(folder: Path, config: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder of its own; its messages are in `stdout`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    return subprocess.run(
        [*command, "--configfile", config, "--cores", "1"],
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the study."""
    folder = tmp_path_factory.mktemp("study")
    done = snakemake(folder, STUDY)
    assert done.returncode == 0, done.stdout
    return folder / "results"


def parts(finished: Path, engine: str) -> list[Path]:
    """The sampled data sets of an engine."""
    found = [path for path in finished.glob("models/**/parts/*") if path.is_dir()]
    return sorted(path for path in found if ("vllm" in path.name) == (engine == "vllm"))


def column(data_set: Path, name: str) -> list[Any]:
    """A column of a data set."""
    return pq.ParquetDataset(shard_paths(data_set)).read().column(name).to_pylist()


def test_vllm_samples_every_part_that_asks_for_it_and_no_other(finished: Path) -> None:
    logs = {path: path.read_text(encoding="utf-8") for path in finished.glob("logs/**/*.log")}
    ran = [path for path, text in logs.items() if "vLLM 0.32.0" in text]
    assert len(ran) == len(parts(finished, "vllm")) == len(parts(finished, "torch")) == 2
    assert all("generate" in path.parts and "vllm" in path.name for path in ran)


def test_its_documents_answer_the_real_ones_and_read_as_their_text(finished: Path) -> None:
    (real,) = finished.glob("data/*/tokenized-*/train")
    prompts = [row[:2] for row in column(real, "input_ids")]
    for part in parts(finished, "vllm"):
        documents, texts = column(part, "input_ids"), column(part, "text")
        tokenizer = Tokenizer.from_file(str(part.parents[1] / "checkpoint/tokenizer.json"))
        assert [document[:2] for document in documents] == prompts
        assert texts == tokenizer.decode_batch(documents, skip_special_tokens=True)
        assert all(document[-1] == END_OF_TEXT_ID or len(document) == 32 for document in documents)
        assert np.mean([len(set(document)) > 5 for document in documents]) > 0.8


def test_its_measurements_stand_under_its_name(finished: Path) -> None:
    metrics = pq.read_table(finished / "metrics.parquet").to_pandas()
    settings = "temperature=1.0, top_k=100, prompt=first-token"
    counts = metrics[metrics.split == "synthetic"].groupby("sampling").size().to_dict()
    assert set(counts) == {settings, f"{settings}, engine=vllm"}
    assert len({*counts.values()}) == 1


def test_without_vllm_no_job_starts(tmp_path: Path) -> None:
    done = snakemake(tmp_path, STUDY, SELFLOOP_VLLM_PYTHON=sys.executable)
    assert done.returncode != 0
    assert "experiments.tiny-vllm.sampling[0].engine: vLLM is not installed" in done.stdout
    assert not (tmp_path / "results").exists()

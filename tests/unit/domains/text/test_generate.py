"""A part is the same whatever the number of processes that sample it, and one that is of no use stops its job."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfloop.checksums import record, record_file
from selfloop.data.shards import ShardWriter, iterate_rows, join_shards, shard_paths
from selfloop.domains.text import problems
from selfloop.domains.text.config import Prompt, Sampling
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID, train_tokenizer
from selfloop.domains.text.kernels.cpu.amx import has_amx
from selfloop.domains.text.model.checkpoint import save_checkpoint
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling import lanes, sampler, torch_engine
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.steps import generate
from selfloop.errors import UserError
from selfloop.jobs.job import Job
from selfloop.processes.stopping import Stopped
from selfloop.training.distributed import ProcessGroup

ROWS = 45
TOKENIZER = train_tokenizer(["to be or not to be, that is the question"] * 3, 290)
SAMPLING = Sampling(prompt="first-token")


class Bar:
    """Stands for a progress bar."""

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is shown."""

    def update(self, count: int) -> None:
        """Nothing is shown."""


def save_model(checkpoint: Path, hidden: int) -> None:
    """Of random weights, with a tokenizer beside it."""
    TOKENIZER.save(str(checkpoint.parent / "tokenizer.json"))
    model = Transformer(Shape("llama", hidden, 1, 2, 32, 24, 300))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
        model.head.weight[END_OF_TEXT_ID] += 0.2  # so that some documents end
    checkpoint.mkdir()
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    save_checkpoint(model, weights, checkpoint.parent / "tokenizer.json", checkpoint)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A model of random weights and a real data set of documents with different first tokens."""
    checkpoint = tmp_path / "checkpoint"
    save_model(checkpoint, hidden=16)
    real = tmp_path / "real"
    real.mkdir()
    with ShardWriter(real, SCHEMA) as writer:
        for row in range(ROWS):
            writer.append({"text": "", "input_ids": [0, 1 + row, 5, 0], "iteration": 0, "part": 0, "row": row})
    return Job(
        input={"checkpoint": str(checkpoint), "real": str(real)},
        output={"part": str(tmp_path / "part")},
        params=generate.Params(sampling=SAMPLING, streams="x", precision="float32", iteration=1, part=2),
        progress=lambda **_: Bar(),
    )


def with_sampling(job: Job, **changes: object) -> Job:
    """The job with other random numbers, and other values of some keys of `sampling`."""
    return replace(job, params=job.params.model_copy(update={"sampling": SAMPLING.changed(**changes), "streams": "n"}))


def documents(folder: Path) -> list[tuple[int, list[int], str]]:
    columns = ["row", "input_ids", "text"]
    return [
        (row["row"], row["input_ids"], row["text"])
        for batch in iterate_rows(shard_paths(folder), columns)
        for row in batch.to_pylist()
    ]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_processes_that_share_a_part_make_the_same_one(
    job: Job, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five slices of ten documents; starting processes and their barrier are left to the workflow's tests."""
    monkeypatch.setattr(sampler, "BLOCK", 10)
    generate.run(job)
    alone = documents(Path(job.output["part"]))
    assert [row for row, _, _ in alone] == list(range(ROWS))
    assert [ids[:2] for _, ids, _ in alone] == [[0, 1 + row] for row in range(ROWS)]
    shares = [tmp_path / f"share{rank}" for rank in range(size)]
    for rank, share in enumerate(shares):
        share.mkdir()
        generate.sample_share(job, ProcessGroup(rank, size), share)
    joined = tmp_path / "joined"
    joined.mkdir()
    join_shards(shares, joined)
    assert documents(joined) == alone
    sizes = [len(documents(share)) for share in shares]
    assert max(sizes) - min(sizes) <= 10  # one slice


@pytest.mark.parametrize("hidden", [64, 48])
def test_in_bfloat16_products_are_in_tiles_where_they_can_be(
    job: Job, hidden: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_model(tmp_path / "wide", hidden)
    params = job.params.model_copy(update={"precision": "bfloat16"})
    job = replace(job, input=job.input | {"checkpoint": str(tmp_path / "wide")}, params=params, threads=2)
    with caplog.at_level(logging.INFO):
        generate.run(job)
    assert len(documents(Path(job.output["part"]))) == ROWS
    assert ("matrix products by AMX tiles" in caplog.text) == (has_amx() and hidden == 64)


def recorded(job: Job, tmp_path: Path) -> Job:
    """The job with records of its inputs' checksums, and a folder for its finished slices."""
    for value in job.input.values():
        record_file(Path(value)).write_bytes(record(Path(value)))
    return replace(job, params=job.params.model_copy(update={"state": str(tmp_path / "state")}))


def test_a_killed_sampling_goes_on_from_its_finished_slices_to_the_same_bytes(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five slices; killed in the third; the first is damaged meanwhile."""
    monkeypatch.setattr(sampler, "BLOCK", 10)
    job = recorded(job, tmp_path)
    generate.run(replace(job, params=job.params.model_copy(update={"state": None})))
    whole = {path.name: path.read_bytes() for path in Path(job.output["part"]).iterdir()}
    real, begun = torch_engine.sample_documents, []

    def sampled(model: Transformer, prompts: torch.Tensor, *rest: Any) -> list[np.ndarray]:
        begun.append(rest[3])
        if len(begun) == 3:
            raise InterruptedError
        return real(model, prompts, *rest)

    monkeypatch.setattr(torch_engine, "sample_documents", sampled)
    with pytest.raises(InterruptedError):
        generate.run(job)
    assert begun[:3] == [0, 10, 20]
    path = tmp_path / "state/slice-000000000.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    begun[:] = [None] * 3
    noted: list[object] = []
    generate.run(replace(job, did=lambda *amount: noted.append(amount)))
    assert begun[3:] == [0, 20, 30, 40]
    assert {path.name: path.read_bytes() for path in Path(job.output["part"]).iterdir()} == whole
    assert noted == []  # the time of this attempt is not that of the part
    generate.run(job)
    assert len(begun) == 7  # whoever shares the part with other processes, or samples it again, reuses all


def test_another_setting_does_not_go_on_from_finished_slices(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "BLOCK", 10)
    job = recorded(job, tmp_path)
    generate.run(job)
    cold = replace(job, params=job.params.model_copy(update={"sampling": SAMPLING.changed(temperature=0.5)}))
    alone = replace(cold, params=cold.params.model_copy(update={"state": None}))
    parts = []
    for each in (cold, alone):
        generate.run(each)
        parts.append(documents(Path(job.output["part"])))
    assert parts[0] == parts[1]


def test_threads_that_share_a_slice_sample_its_documents(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slices of 30 and 15, in pieces."""
    monkeypatch.setattr(sampler, "BLOCK", 30)
    generate.run(job)
    alone = documents(Path(job.output["part"]))
    real, begun = torch_engine.sample_documents, []

    def sampled(model: Transformer, prompts: torch.Tensor, *rest: Any) -> list[np.ndarray]:
        begun.append((rest[3], len(prompts)))
        return real(model, prompts, *rest)

    monkeypatch.setattr(torch_engine, "sample_documents", sampled)
    monkeypatch.setattr(torch_engine, "SMALLEST_PIECE", 2)
    generate.run(replace(job, threads=3))
    assert sorted(begun) == [(0, 15), (15, 15), (30, 15)]
    assert documents(Path(job.output["part"])) == alone


@pytest.mark.parametrize("threads", [1, 4])
def test_a_part_sampled_as_on_a_gpu_is_the_same(job: Job, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps of fixed shapes, and two slices side by side."""
    monkeypatch.setattr(sampler, "BLOCK", 10)
    monkeypatch.setattr(lanes, "FIRST_LANE", 4)
    parts = []
    for fixed in (False, True):
        monkeypatch.setattr(torch_engine, "in_lanes", lambda device, fixed=fixed: fixed)
        generate.run(replace(job, threads=threads))
        parts.append(documents(Path(job.output["part"])))
    assert parts[0] == parts[1]


def test_a_stop_signal_does_not_wait_for_the_slices_that_run(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "BLOCK", 10)
    ended: list[bool] = []
    real = torch_engine.sample_documents

    def sampled(*arguments: Any) -> list[np.ndarray]:
        if arguments[5] == 0:
            return real(*arguments)
        with pytest.raises(Stopped):
            while True:
                arguments[4](1)
        ended.append(True)
        raise Stopped

    monkeypatch.setattr(torch_engine, "sample_documents", sampled)
    request = Request(Path(job.input["checkpoint"]), np.zeros((45, 1), dtype=np.int64), SAMPLING, "x")
    sampling = torch_engine.sample(request)
    next(sampling)
    sampling.close()
    assert ended == [True]


def test_the_tokens_of_a_part_are_recorded_whole(job: Job) -> None:
    noted: list[tuple[object, ...]] = []
    generate.run(replace(job, did=lambda *amount: noted.append(amount)))
    assert noted == [(sum(len(ids) for _, ids, _ in documents(Path(job.output["part"]))), "tokens")]


def test_a_part_in_which_no_document_ends_stops_the_job(job: Job) -> None:
    never = with_sampling(job, max_length=3)
    with pytest.raises(UserError, match=r"checkpoint: none of the 45 sampled documents reached its end within"):
        generate.run(never)
    assert list(Path(job.output["part"]).parent.glob("part*")) == []
    generate.run(with_sampling(job, max_length=3, allow_unended=True))
    assert len(documents(Path(job.output["part"]))) == ROWS


@pytest.mark.parametrize(("prompt", "given"), [("begin-of-text", 1), ("first-token", 2)])
def test_a_document_with_nothing_but_its_prompt_is_empty(job: Job, tmp_path: Path, prompt: str, given: int) -> None:
    """Counted by the tokens that were sampled, whether or not end-of-text is one of them."""
    asked = with_sampling(job, prompt=prompt)
    begin = [END_OF_TEXT_ID, 7][:given]
    sampled = [[*begin, END_OF_TEXT_ID], begin, [*begin, 9], [*begin, 9, END_OF_TEXT_ID]]
    (tmp_path / prompt).mkdir()
    counts = generate.write_documents(
        asked, [np.array(ids) for ids in sampled], range(4), np.full(4, given), TOKENIZER, tmp_path / prompt
    )
    assert counts.tolist() == [4, sum(map(len, sampled)), 2, 2]


def test_what_processes_add_up_lies_on_their_device(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL adds up nothing else. There is no GPU here: the device "meta" stands for one, up to the sum."""
    added: list[str] = []

    def all_reduce(group: ProcessGroup, tensor: torch.Tensor) -> None:
        added.append(tensor.device.type)
        raise InterruptedError

    monkeypatch.setattr(generate, "prepare_torch", lambda *_, **__: torch.device("meta"))
    monkeypatch.setattr(ProcessGroup, "all_reduce", all_reduce)
    with pytest.raises(InterruptedError):
        generate.run(job)
    assert added == ["meta"]


def test_text_and_tokens_agree_where_the_corpus_fills_fewer_tokens_than_the_vocabulary(
    job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = TOKENIZER.get_vocab_size()
    assert tokens < 300
    logging.getLogger("selfloop").propagate = True
    with caplog.at_level(logging.INFO):
        generate.run(job)
    assert f"{300 - tokens} of the model's 300 ids have no token and are not sampled" in caplog.messages
    for _, ids, text in documents(Path(job.output["part"])):
        assert max(ids) < tokens
        assert text == TOKENIZER.decode(ids)


def test_a_tokenizer_of_another_vocabulary_stops_the_job(job: Job) -> None:
    larger = train_tokenizer(["some other text, with many more and longer words than the first ever had"] * 9, 320)
    assert larger.get_vocab_size() > 300
    larger.save(str(Path(job.input["checkpoint"]) / "tokenizer.json"))
    with pytest.raises(UserError, match=r"tokenizer.json has 3\d\d tokens, more than the model.s vocabulary of 300"):
        generate.run(job)


def test_documents_go_on_from_the_beginnings_of_real_ones(job: Job, tmp_path: Path) -> None:
    real = Path(job.input["real"])
    shutil.rmtree(real)
    real.mkdir()
    texts = [[0, 1 + row, 5, 6, 7, 8, 0][: 3 + row % 5] for row in range(ROWS)]  # some shorter, some without an end
    with ShardWriter(real, SCHEMA) as writer:
        for row, ids in enumerate(texts):
            writer.append({"text": "", "input_ids": ids, "iteration": 0, "part": 0, "row": row})
    record(real)
    asked = with_sampling(job, prompt=Prompt(tokens=4), continuation=3)
    generate.run(asked)
    for ids, (_, document, _) in zip(texts, documents(Path(asked.output["part"])), strict=True):
        given = [0, *(token for token in ids[1:5] if token)]
        assert document[: len(given)] == given
        assert len(given) < len(document) <= len(given) + 3


def test_an_engine_is_refused_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "find_vllm", lambda: None)
    said = problems.of_vllm(Sampling(engine="vllm", typical_p=0.9, min_p=0.1, top_p=0.5))
    assert [text.split(":")[0] for text in said] == ["typical_p", "min_p"]
    assert not problems.of_vllm(Sampling(engine="vllm", min_p=0.1, repetition_penalty=1.1))

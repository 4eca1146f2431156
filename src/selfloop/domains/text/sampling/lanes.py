"""Sampling in steps of fixed shapes, for GPUs: a step is a CUDA graph, launched at once, and the host waits for none.

Every row holds a document at a position of its own. Rows are divided into lanes by the length of their KV cache: a
document begins in the first lane, and moves to the next, which is longer and has fewer rows, when it has outgrown its
own. So the cache grows with the documents, and attention reads at most a few times what it needs. Meanwhile a document
whose next lane is full stands still.

The documents are those of `sampler`, but for rounding. What it decides, it decides by the results of the steps alone:
the same documents always share the same steps.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.kernels.gpu import decoding
from selfloop.domains.text.model.network import Attend, Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling.sampler import CHECK_EVERY, Uniforms, choose, is_plain
from selfloop.errors import UserError
from selfloop.training.transfer import to_device
from selfloop.training.triton_available import triton_runs_on

FIRST_LANE = 256  # positions of the shortest lane
LONGER = 4  # times as long is the next lane, and as few its rows
ALIGNED = 8  # positions beside those of a lane: the first takes what documents write that stand still
REFILL_FROM = 1 / 16  # of the first lane's rows are free before others begin
CACHE_BYTES = 2**33  # of all lanes at most: two slices fit a GPU of 24 GB
MAX_ROWS = 2048  # of the first lane

_CAPTURING = Lock()  # one graph at a time: slices run side by side


def in_lanes(device: torch.device) -> bool:
    """Whether documents are sampled in lanes: not on a CPU, where cohorts compute no padding."""
    return device.type == "cuda"


def lane_sizes(rows: int, longest: int) -> list[tuple[int, int]]:
    """Rows and positions of each lane, for documents of at most `longest` tokens."""
    sizes = [(rows, min(FIRST_LANE, longest))]
    while sizes[-1][1] < longest:
        rows, length = sizes[-1]
        sizes.append((max(1, rows // LONGER), min(length * LONGER, longest)))
    return sizes


def rows_of_first_lane(shape: Shape, longest: int, kv_dtype: torch.dtype) -> int:
    """Documents that begin at once: a power of two, whatever the GPU's memory, so that all GPUs sample alike."""
    rows = MAX_ROWS
    each = 2 * shape.layers * shape.hidden_size * kv_dtype.itemsize
    while (
        rows > 1 and each * sum(count * (length + ALIGNED) for count, length in lane_sizes(rows, longest)) > CACHE_BYTES
    ):
        rows //= 2
    return rows


@dataclass
class Lane:
    """Rows with a KV cache of one length.

    Attributes:
        rows: which ones.
        length: positions.
        layers: [rows, positions and `ALIGNED` others, 2, heads, head_size] per layer; none before it is first used.
    """

    rows: slice
    length: int
    layers: list[Tensor]

    def __len__(self) -> int:
        return int(self.rows.stop - self.rows.start)


class Decoder:
    """The device's side: the state of all rows, and a step.

    Attributes:
        tokens, uniforms: [rows, longest].
        position: [rows], of the last token.
        active: [rows], whether there is a document that has not ended.
        broken: [rows], whether a logit of its document was not finite.
    """

    def __init__(
        self,
        model: Transformer,
        sampling: Sampling,
        given: int,
        sizes: Sequence[tuple[int, int]],
        kv_dtype: torch.dtype,
        tokens: int | None,
    ) -> None:
        self.model, self.sampling, self.given, self.limit, self.kv_dtype = model, sampling, given, tokens, kv_dtype
        device = self.device = model.embedding.weight.device
        self.kernels = triton_runs_on(device)
        ends = np.cumsum([0, *(rows for rows, _ in sizes)]).tolist()
        places = itertools.pairwise(ends)
        self.lanes = [Lane(slice(*place), length, []) for place, (_, length) in zip(places, sizes, strict=True)]
        self.longest, rows = sizes[-1][1], ends[-1]
        self.tokens = torch.zeros(rows, self.longest, dtype=torch.int64, device=device)
        self.uniforms = torch.zeros(rows, self.longest, device=device)
        self.position = torch.zeros(rows, dtype=torch.int64, device=device)
        self.active = torch.zeros(rows, dtype=torch.bool, device=device)
        self.broken = torch.zeros(rows, dtype=torch.bool, device=device)
        lengths = np.repeat([length for _, length in sizes], [rows for rows, _ in sizes])
        self.lengths = to_device(lengths.astype(np.int64), device)
        self._numbers = torch.arange(max(rows, self.longest + ALIGNED), device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def allocate(self, used: int) -> None:
        """Make the caches of the first `used` lanes. Zeros: what is masked must be finite."""
        shape = self.model.shape
        for lane in self.lanes[:used]:
            if not lane.layers:
                size = (len(lane), lane.length + ALIGNED, 2, shape.heads, shape.head_size)
                lane.layers = [torch.zeros(size, dtype=self.kv_dtype, device=self.device) for _ in range(shape.layers)]

    def run(self, used: int, steps: int) -> None:
        """Some steps with the first `used` lanes: on a GPU, after the first by a CUDA graph."""
        if self.device.type != "cuda":
            for _ in range(steps):
                self.step(used)
            return
        if used not in self._graphs:
            with _CAPTURING:
                self.step(used)  # compiles kernels, which a capture cannot
                graph = self._graphs[used] = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    self.step(used)
            steps -= 1
        for _ in range(steps):
            self._graphs[used].replay()

    def step(self, used: int) -> None:
        """One token more for every document in the first `used` lanes that has room in its lane.

        Nothing here depends on values on the host: the same launches each time.
        """
        rows = slice(0, self.lanes[used - 1].rows.stop)
        position, active, limits = self.position[rows], self.active[rows], self.lengths[rows]
        tokens = self.tokens[rows]
        moves = active & (position < limits)
        attend = (self._attend_in_triton if self.kernels else self._attend)(used, position, moves)
        logits = self.model.decode(tokens.gather(1, position[:, None])[:, 0], position, attend)
        following = (position + 1).clamp(max=self.longest - 1)
        place = following[:, None]
        uniforms = self.uniforms[rows].gather(1, place)[:, 0]
        chosen, finite = self._choose(logits[:, : self.limit], uniforms)
        self.broken[rows] |= active & ~finite
        known = tokens.gather(1, place)[:, 0]
        sampled = moves & (following >= self.given)
        token = torch.where(sampled, chosen, known)
        tokens.scatter_(1, place, token[:, None])
        position += moves
        ended = (sampled & (token == END_OF_TEXT_ID)) | (moves & (following == self.longest - 1))
        active &= ~ended

    def _attend(self, used: int, position: Tensor, moves: Tensor) -> Attend:
        """Attention by PyTorch, to all positions of a lane: those that a row does not have are masked."""
        written = torch.where(moves, position, self.lengths[: len(position)])  # of those that stand still: beside it
        masks = []
        for lane in self.lanes[:used]:
            hidden = self._numbers[: lane.length + ALIGNED] > position[lane.rows, None]
            mask = torch.zeros(hidden.shape, dtype=self.kv_dtype, device=self.device)
            masks.append(mask.masked_fill_(hidden, float("-inf"))[:, None, None])

        def attend(layer: int, qkv: Tensor, mixed: Tensor) -> None:
            qkv = qkv.to(self.kv_dtype)
            for lane, mask in zip(self.lanes, masks, strict=False):
                memory, own = lane.layers[layer], qkv[lane.rows]
                memory[self._numbers[: len(lane)], written[lane.rows]] = own[:, 1:]
                keys, values = memory.permute(2, 0, 3, 1, 4)
                seen = F.scaled_dot_product_attention(own[:, 0, :, None], keys, values, attn_mask=mask)
                mixed[lane.rows] = seen[:, :, 0]

        return attend

    def _attend_in_triton(self, used: int, position: Tensor, moves: Tensor) -> Attend:
        """Attention by our own kernel, to the positions that a row has."""

        def attend(layer: int, qkv: Tensor, mixed: Tensor) -> None:
            for lane in self.lanes[:used]:
                rows = lane.rows
                decoding.attend(qkv[rows], lane.layers[layer], position[rows], moves[rows], mixed[rows])

        return attend

    def _choose(self, logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """The next token of each row, and whether its logits are finite: NaN would choose a token that there is not."""
        if self.kernels and is_plain(self.sampling):
            return decoding.draw(logits, uniforms, self.sampling.temperature)
        finite = logits.sum(dim=1).isfinite()  # a sum is finite if all of it is
        return choose(logits.masked_fill(~finite[:, None], 0.0), uniforms, self.sampling), finite

    def begin(self, rows: np.ndarray, prompts: Tensor, uniforms: Tensor) -> None:
        """Begin documents in rows of the first lane."""
        at = to_device(rows, self.device)
        self.tokens[at, : self.given] = prompts
        self.uniforms[at] = to_device(uniforms, self.device)
        self.position[at] = 0
        self.active[at] = True

    def move(self, lane: int, sources: np.ndarray, targets: np.ndarray) -> None:
        """Move documents that have outgrown a lane to rows of the next."""
        here, there = self.lanes[lane], self.lanes[lane + 1]
        source, target = to_device(sources, self.device), to_device(targets, self.device)
        for old, new in zip(here.layers, there.layers, strict=True):
            new[target - there.rows.start, : here.length] = old[source - here.rows.start, : here.length]
        for state in (self.tokens, self.uniforms, self.position):
            state[target] = state[source]
        self.active[target], self.active[source] = True, False


@dataclass
class Copy:
    """A tensor on its way to the host."""

    host: Tensor
    done: torch.cuda.Event | None

    @classmethod
    def of(cls, tensor: Tensor) -> "Copy":
        """Queue the copy; the tensor may change after that."""
        if tensor.device.type != "cuda":
            return cls(tensor.clone(), None)
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        done = torch.cuda.current_stream().record_event()
        return cls(host, done)

    def get(self) -> np.ndarray:
        """Wait for it."""
        if self.done is not None:
            self.done.synchronize()
        return self.host.numpy()


@torch.inference_mode()
def sample(
    model: Transformer,
    prompts: Tensor,
    sampling: Sampling,
    streams: str,
    on_tokens: Callable[[int], None] = lambda count: None,
    first_row: int = 0,
    kv_dtype: torch.dtype | None = None,
    batch: int = 256,
    tokens: int | None = None,
) -> list[np.ndarray]:
    """Sample one document per prompt; arguments and result as those of `sampler.sample`.

    `batch` documents begin at once. While the device computes some steps, the host looks at the state before them.

    Raises:
        UserError: a logit is not finite.
    """
    longest = sampling.max_length or model.shape.context
    count = len(prompts)
    uniforms = Uniforms(streams, first_row, longest)
    sizes = lane_sizes(min(batch, count), longest)
    decoder = Decoder(model, sampling, prompts.shape[1], sizes, kv_dtype or model.embedding.weight.dtype, tokens)
    lanes, lengths = decoder.lanes, decoder.lengths.cpu().numpy()
    document = np.full(len(lengths), -1)  # of each row
    changed = np.zeros(len(lengths), dtype=np.int64)  # the first look that shows it
    before = np.zeros(len(lengths), dtype=np.int64)
    documents: list[np.ndarray | None] = [None] * count
    harvests: list[tuple[np.ndarray, np.ndarray, Copy]] = []
    looks: list[Copy] = []
    begun, done, number = 0, 0, 0
    while done < count:
        used = max(1, sum(bool((document[lane.rows.start :] >= 0).any()) for lane in lanes))
        decoder.allocate(used)
        if (document >= 0).any():
            decoder.run(used, CHECK_EVERY)
        looks.append(Copy.of(torch.stack([decoder.position, decoder.active.long(), decoder.broken.long()])))
        number += 1
        if len(looks) > 1:
            position, active, broken = looks.pop(0).get()
            if broken.any():
                raise UserError("the model's logits are not finite; the model is broken.")
            known = (document >= 0) & (changed < number - 1)
            on_tokens(int((position - before)[known].sum()))
            before[known] = position[known]
            ended = np.flatnonzero(known & (active == 0))
            if len(ended):
                whole = decoder.tokens[to_device(ended, decoder.device), : int(position[ended].max()) + 1]
                harvests.append((document[ended], position[ended] + 1, Copy.of(whole.int())))
                document[ended] = -1
            stuck = known & (active == 1) & (position == lengths)
            for index in reversed(range(len(lanes) - 1)):
                here, there = lanes[index].rows, lanes[index + 1].rows
                free = there.start + np.flatnonzero(document[there] < 0)
                sources = here.start + np.flatnonzero(stuck[here])[: len(free)]
                targets = free[: len(sources)]
                if len(sources):
                    decoder.allocate(index + 2)
                    decoder.move(index, sources, targets)
                    document[targets], before[targets], document[sources] = document[sources], before[sources], -1
                    changed[targets] = number
        free = np.flatnonzero(document[lanes[0].rows] < 0)[: count - begun]
        if len(free) and (len(free) >= REFILL_FROM * len(lanes[0]) or begun + len(free) == count):
            some = range(begun, begun + len(free))
            decoder.begin(free, prompts[some.start : some.stop], uniforms.of(some))
            document[free], before[free], changed[free] = list(some), 0, number
            begun += len(free)
        if harvests and (len(harvests) > 1 or (document < 0).all()):
            rows, ends, copy = harvests.pop(0)
            for row, end, ids in zip(rows, ends, copy.get(), strict=True):
                documents[row] = ids[:end].copy()
            done += len(rows)
    return [ids for ids in documents if ids is not None]

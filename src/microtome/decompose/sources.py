"""Where rows to train on come from: a recording, or a live subject through a shuffling ring buffer.

A source gives, update by update, the same rows of several sites, so that one forward (or one read from disk) serves many
dictionaries. What it gives at update n depends on its settings and n alone: training resumes exactly at any update.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.decompose.data import precision_of
from microtome.decompose.ends import Ends, Feed
from microtome.errors import Degenerate, UsageError
from microtome.rng import derive, rng, torch_rng
from microtome.subject.recording import Recording

if TYPE_CHECKING:
    from microtome.subject.subject import Subject

Rows = dict[str, Tensor]


class FromRecording:
    """Rows of a recording, in memory or on disk, in a new order at each pass."""

    mark = (0, 0)

    def __init__(self, recording: Any) -> None:
        self.recording = recording

    @property
    def like(self) -> Tensor:
        """Device and precision to train in."""
        return precision_of(self.recording[self.recording.sites[0]])

    def ends(self, reads: Any, writes: Any) -> Ends:
        """Moments of the sites of a recipe."""
        return Feed(self.recording, reads, writes).ends

    def rows(self, sites: Sequence[str], batch: int, seed: int, start: int) -> Iterator[Rows]:
        """Batches without end, from update `start` on."""
        size = min(batch, len(self.recording))
        per_pass = len(self.recording) // size
        epoch, skip = divmod(start, per_pass)
        while True:
            order = derive(seed, "decompose", "order", epoch)
            streams = [self.recording[site].batches(size, order) for site in sites]
            for i, values in enumerate(zip(*streams)):
                if i >= skip and len(values[0]) == size:
                    yield dict(zip(sites, values))
            epoch, skip = epoch + 1, 0

    @property
    def identity(self) -> str:
        """A hash of what the rows depend on."""
        return self.recording.fingerprint


class Live:
    """Activations straight from a subject, never stored.

    Forward batches come in a new order at each pass over the data. Their rows go through a ring of two halves: of each
    half, one part (drawn by seed) is served with what the half before left, in random order, and the rest stays.

    Parameters
    ----------
    subject : Subject
    data : texts, Stimuli, Inputs or Tensor
        What it is shown.
    sites : sequence of str
        All that the recipes read and write; recorded by one forward, which stops after the last of them.
    buffer : int
        Rows kept, about; both halves. Default 65,536.
    forward : int
        Samples per forward. Default 32.
    skip : int
        Positions left out at the beginning of each sample, e.g. 1 where the first token's norm dwarfs the others.
    """

    def __init__(
        self, subject: "Subject", data: Any, sites: Sequence[str], *, buffer: int = 65_536, forward: int = 32, skip: int = 0
    ) -> None:
        from microtome.subject.record import Source

        for label, value, least in (("buffer", buffer, 2), ("forward", forward, 1), ("skip", skip, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{label} must be a whole number >= {least}, got {value!r}.")
        self.subject, self.source, self.skip, self.forward = subject, Source(subject, data), skip, forward
        self.source.properties = []
        self.sites = [subject.site(s) for s in sites]
        names = [s.name for s in self.sites]
        if not names or len(set(names)) != len(names):
            raise UsageError(f"a live source needs sites, each once, got {names}.")
        self.buffer, self.blocks = buffer, -(-len(self.source) // forward)
        self.mark = (0, 0)  # half being served, and updates before it
        self._first: Rows | None = None

    @property
    def like(self) -> Tensor:
        """Device and precision to train in."""
        return self._start()[self.sites[0].name][:1].to(torch.promote_types(self.subject.dtype, torch.float32))

    def ends(self, reads: Any, writes: Any) -> Ends:
        """Moments of the sites of a recipe over the first half of the buffer."""
        known = {"subject": self.subject.fingerprint()}
        return Feed(Recording.of(self._start(), provenance=known), reads, writes).ends

    def rows(self, sites: Sequence[str], batch: int, seed: int, start: int) -> Iterator[Rows]:
        """Batches without end, from update `start` on.

        With `mark` set to what it was at that update, only the half it lies in and the one before are computed again.
        """
        half, count = self.mark
        left = self._parts(half - 1, seed)[1] if half else {}
        while True:
            self.mark = (half, count)
            now, later = self._parts(half, seed)
            ready = {s: torch.cat([left[s], now[s]]) if left else now[s] for s in sites}
            left, total = later, len(ready[sites[0]])
            if total < batch:
                raise Degenerate(f"half the buffer holds {total} rows, fewer than a batch of {batch}; enlarge buffer.")
            mix = torch.randperm(total, generator=torch_rng(seed, "live", "mix", half))
            for lo in range(0, total - batch + 1, batch):
                if count >= start:
                    yield {s: v[mix[lo : lo + batch].to(v.device)] for s, v in ready.items()}
                count += 1
            half += 1

    @property
    def identity(self) -> str:
        """A hash of what the rows depend on."""
        from microtome.io import dump_json, hash_bytes

        about = self.source.provenance("all")
        settings = [about["subject"], about["data"], [s.name for s in self.sites], self.buffer, self.forward, self.skip]
        return hash_bytes(dump_json(settings))

    def _parts(self, half: int, seed: int) -> tuple[Rows, Rows]:
        """Rows of a half that are served at once, and those that wait for the next."""
        rows = self._half(half, seed)
        count = len(rows[self.sites[0].name])
        order = torch.randperm(count, generator=torch_rng(seed, "live", "half", half))
        now, later = order[: (count + 1) // 2], order[(count + 1) // 2 :]
        return {s: v[now.to(v.device)] for s, v in rows.items()}, {s: v[later.to(v.device)] for s, v in rows.items()}

    def _start(self) -> Rows:
        if self._first is None:
            self._first = self._half(0, 0)
        return self._first

    def _half(self, half: int, seed: int) -> Rows:
        """Rows of the forward batches that belong to one half of the buffer; those of the moments are not computed again."""
        if (half, seed) == (0, 0) and self._first is not None:
            return self._first
        per_half = self._per_half
        parts: list[Rows] = []
        for number in range(half * per_half, (half + 1) * per_half):
            epoch, place = divmod(number, self.blocks)
            block = int(rng(seed, "live", "blocks", epoch).permutation(self.blocks)[place])
            parts.append(self._forward(block))
        return {s.name: torch.cat([part[s.name] for part in parts]) for s in self.sites}

    @property
    def _per_half(self) -> int:
        """Forward batches per half of the buffer, judged by the first one."""
        if not hasattr(self, "_count"):
            first = len(next(iter(self._forward(0).values())))
            if not first:
                raise Degenerate(f"no position is left after skipping {self.skip} of each sample.")
            self._count = max(1, round(self.buffer / 2 / first))
        return self._count

    def _forward(self, block: int) -> Rows:
        from microtome.subject.rows import to_rows

        samples = range(block * self.forward, min((block + 1) * self.forward, len(self.source)))
        inputs = self.source.batch(samples)
        run = self.subject.run(inputs, record=[s.name for s in self.sites], logits="none")
        values, index, _ = to_rows(self.source, samples, inputs, {s: run[s.name] for s in self.sites}, "all")
        if self.skip and "position" in index:
            keep = torch.from_numpy(index["position"] >= self.skip)
            values = {name: v[keep.to(v.device)] for name, v in values.items()}
        return {name: v.flatten(1) for name, v in values.items()}

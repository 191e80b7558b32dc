"""Subject: what is studied. A thin object over the functions of this package."""

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from microtome.errors import SiteError, UsageError
from microtome.subject import architecture as arch
from microtome.subject.allocator import keep_freed_memory
from microtome.subject.architecture import Dims, Trunk
from microtome.subject.call import Takes, call
from microtome.subject.edit import Edit
from microtome.subject.inputs import Inputs, as_inputs
from microtome.subject.lookup import lookup, paths
from microtome.subject.site import Site

if TYPE_CHECKING:
    from pathlib import Path

    from microtome.stimuli.stimuli import Stimuli
    from microtome.stimuli.task import Task
    from microtome.subject.bind import BoundTask, Metric
    from microtome.subject.fingerprint import Known
    from microtome.subject.recording import Recording
    from microtome.subject.run import Logits, Run
    from microtome.subject.sweep import Sweep


class Subject:
    """A network that can be recorded, edited and traced, unmodified.

    Parameters
    ----------
    module : nn.Module
        Any module. It is put in eval mode and is not changed otherwise.
    tokenizer : optional
        A Hugging Face tokenizer that fits the module.
    name : str, optional
        Shown in results; default the class name.
    transform : callable, optional
        Raw images (or other raw inputs) -> the tensor that the module takes.

    Raises
    ------
    UsageError
        When `module` is not an nn.Module.
    TokenizerError
        When the tokenizer can produce ids that the module has no row for.

    Examples
    --------
    >>> subject = Subject(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    >>> run = subject.run(torch.ones(5, 3), record=["1"])
    >>> run["1"].shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        module: nn.Module,
        tokenizer: Any = None,
        name: str | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise UsageError(f"Subject needs a torch.nn.Module, got {type(module).__name__}. To load by name: mt.load(...).")
        from microtome.subject.tokens import check_tokenizer

        keep_freed_memory()
        self.module = module.eval()
        self.tokenizer = check_tokenizer(tokenizer, module) if tokenizer is not None else None
        self.transform = transform
        self.name = name or type(module).__name__
        self.organism: Any = None
        self.architecture = arch.find(module)
        self.trunks: list[Trunk] = arch.resolve(self.architecture, module) if self.architecture else []
        self.known_sites = {name: site for trunk in self.trunks for name, site in trunk.sites.items()}
        self.known_as: Known | None = None  # see fingerprint.current_fingerprint
        self.takes = Takes.of(module)

    # ---- what it is

    @property
    def device(self) -> torch.device:
        """Device of the first parameter."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the first parameter."""
        return next((p.dtype for p in self.module.parameters()), torch.float32)

    @property
    def facts(self) -> Dims:
        """Sizes of the (first) stack of blocks: blocks, d_model, heads, kv_heads, d_head, d_mlp, vocab."""
        if not self.trunks:
            raise SiteError(f"{self.name} is not of a known architecture, so it has no blocks and heads to count.")
        return self.trunks[0].dims

    def sites(self, pattern: str = "*") -> list[Site]:
        """Sites whose name matches a shell pattern, e.g. ``blocks.*.attn.z``; module paths where no table applies."""
        names = self.known_sites or {n: self.site(n) for n in paths(self.module)}
        return [site for name, site in names.items() if fnmatch.fnmatchcase(name, pattern)]

    def site(self, name: "str | Site") -> Site:
        """The site of that name. Canonical names, TransformerLens hook names and module paths are accepted.

        ``path`` is a module's output, ``path:input`` its first input, ``lstm:l0.i`` a gate of a recurrent layer.

        Raises
        ------
        SiteError
            With the nearest names.
        """
        return lookup(self, str(name))

    def fingerprint(self) -> str:
        """A hash over module structure, every tensor, and the tokenizer; computed again when something was changed."""
        from microtome.subject.fingerprint import checked_fingerprint

        return checked_fingerprint(self)

    # ---- what it is shown

    def tokens(
        self,
        texts: Sequence[str] | str,
        *,
        pad: Literal["right", "left"] = "right",
        bos: bool | None = None,
        max_length: int | None = None,
    ) -> Inputs:
        """Texts as a padded batch. `bos` None leaves the beginning-of-sequence token to the tokenizer.

        Raises
        ------
        TokenizerError
            Without a tokenizer, or when padding is needed and there is no token to pad with.
        """
        from microtome.subject.tokens import tokens

        return tokens(self.tokenizer, texts, pad=pad, bos=bos, max_length=max_length).to(self.device)

    def inputs(self, data: Any) -> Inputs:
        """Anything that can be shown (texts, Stimuli, tensors, a mapping) as `Inputs` on the subject's device."""
        source = getattr(data, "inputs", data)
        if isinstance(source, str) or (isinstance(source, Sequence) and source and isinstance(source[0], str)):
            return self.tokens(source)
        if isinstance(source, Tensor) and self.transform is not None and source.dtype == torch.uint8:
            source = self.transform(source)
        return as_inputs(source).to(self.device)

    def bind(self, task: "Task", *, metric: str | None = None) -> "BoundTask":
        """The task's inputs, answers and metric for this subject.

        Raises
        ------
        TokenizerError
            When an answer is not one token in its context.
        ShapeError
            When a pair has different token counts.
        """
        from microtome.subject.bind import bind

        return bind(self, task, metric=metric)

    # ---- what it does

    def call(self, inputs: Inputs, logits: "Logits" = "all") -> Any:
        """The module's own output. `logits` "last" or a tensor of positions [n] computes only those rows of the logits.

        Raises
        ------
        UsageError
            When the module does not take such inputs.
        """
        return call(self, inputs, logits)

    def run(
        self, inputs: Any, *, record: Sequence[str] = (), edits: Sequence[Edit] = (), logits: "Logits" = "all"
    ) -> "Run":
        """One forward pass: edits applied in order, sites recorded as they are after the edits.

        Parameters
        ----------
        inputs : Inputs, texts or tensor
        record : sequence of site names
        edits : sequence of Edit
        logits : {"all", "last", "none"} or LongTensor[n]
            Which rows of logits to compute. With "none" the pass stops as soon as everything recorded has been seen.

        Returns
        -------
        Run

        Raises
        ------
        SiteError, ShapeError
        UsageError
            When the module does not take such inputs: ids in floats, a list, a mask that its forward does not have.
        EditTouchedNothing
            When an edit addressed no cell in this call.
        """
        from microtome.subject.run import run

        return run(self, self.inputs(inputs), record, edits, logits)

    def gradients(
        self, inputs: Any, sites: Sequence[str], metric: "Callable[[Tensor], Tensor]", edits: Sequence[Edit] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Values [n] of `metric` and its gradient at each site, from one forward and one backward."""
        from microtome.subject.gradients import gradients

        values, grads, _ = gradients(self, self.inputs(inputs), sites, metric, edits)
        return values, {name: grads[self.site(name).name] for name in sites}

    def record(
        self,
        data: "Stimuli | Sequence[str] | Inputs | Tensor",
        sites: Sequence[str],
        *,
        positions: Literal["all", "last", "mean"] = "all",
        batch: int | None = None,
        to: "str | Path | None" = None,
        dtype: torch.dtype | None = None,
    ) -> "Recording":
        """Values of sites over data, as a `Recording`; on disk (streamed, resumable) when `to` names a folder.

        Parameters
        ----------
        data : Stimuli, texts, Inputs or tensor
        sites : sequence of site names
        positions : {"all", "last", "mean"}
            Every real token (or place of an image), the last token of each sample, or the mean over its tokens (places).
        batch : int, optional
            Samples per forward; halved by itself when memory runs out.
        to : path, optional
            Folder of the recording; an interrupted one is continued.
        dtype : torch.dtype, optional
            Storage dtype; default the subject's.
        """
        from microtome.subject.record import record

        return record(self, data, sites, positions=positions, batch=batch, to=to, dtype=dtype)

    @contextmanager
    def edit(self, *edits: Edit) -> Iterator["Subject"]:
        """Apply edits to every call of the module within the context, `generate` with its cache included.

        Positions count from the first real token of the sequence that is being generated.

        Raises
        ------
        EditTouchedNothing
            On exit, when an edit addressed no cell.
        """
        from microtome.subject.context import editing

        with editing(self, edits):
            yield self

    def sweep(
        self, inputs: Any, edits: "Sequence[Edit | Sequence[Edit]]", metric: "Metric", *, memory: int = 256 * 2**20
    ) -> "Sweep":
        """The metric under each of many edits, replaying only what each edit changes, stacked on the batch axis.

        Parameters
        ----------
        inputs : Inputs, texts or tensor
        edits : sequence of Edit, or of sequences of Edit
            One result per entry; the edits of an entry act together.
        metric : Metric
            From ``subject.bind(task).metric``.
        memory : int
            Bytes that stacked activations may take.

        Returns
        -------
        Sweep
            ``values`` [entries, n], ``base`` [n], ``forwards`` (cost in full forward passes).
        """
        from microtome.subject.sweep import sweep

        return sweep(self, self.inputs(inputs), edits, metric, memory=memory)

    def unembed(self, x: Tensor) -> Tensor:
        """The logit lens: residual vectors [..., d] through the final norm (recomputed) and the head -> [..., vocab]."""
        from microtome.subject.replay import tail

        with torch.no_grad():
            return tail(self)(x)

    def twin(
        self,
        kind: Literal["reinit", "weight_shuffle"] = "reinit",
        *,
        seed: int = 0,
        keep: str | Sequence[str] = (),
    ) -> "Subject":
        """A subject of the same architecture that learned nothing: weights re-drawn or shuffled per tensor.

        Parameters
        ----------
        kind : {"reinit", "weight_shuffle"}
        seed : int
        keep : pattern or patterns of parameter names
            Left as they are, e.g. ``"*embed*"``, or the lower blocks for a cascade.
        """
        from microtome.subject.twins import twin_module

        patterns = [keep] if isinstance(keep, str) else list(keep)
        module = twin_module(
            self.module, kind, seed, lambda name: not any(fnmatch.fnmatchcase(name, p) for p in patterns)
        )
        other = Subject(module, self.tokenizer, f"{self.name} ({kind} {seed})", self.transform)
        other.organism = self.organism
        return other

    def __repr__(self) -> str:
        from microtome.subject.show import tree

        return tree(self)

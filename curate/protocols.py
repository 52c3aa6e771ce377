"""The whole surface that a plug-in meets: what a scorer, a sampler and a distiller are, and what they are handed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from curate.compensated import Compensated
from curate.progress import Progress
from curate.rng import KeyedRandom

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Array = NDArray[Any]
Rows = NDArray[np.int64]
Columns = Mapping[str, Array]
State = dict[str, Array]
Keep = Literal["high", "low", "middle"]
Sign = Literal[-1, 0, 1]
Projected = Literal["auto", "rademacher", "sjlt", "kronecker"]


class Shard(Mapping[str, Array]):
    """A range of rows with the signal columns that a scorer asked for in `requires`.

    `shard["dynamics.loss"]` is (n, epochs) float32; `"eval.loss@3"` is that column after epoch 3, (n,); `"probs.final"` is
    (n, classes) float32; `"label"` is (n,) int64; `"label_sets"` is (n, classes) int8, 1 where the row bears the class and -1
    throughout where its list is missing. `rows` are the positions in the source, (n,) int64; `seed` is that of the run at hand.
    Arrays are read-only and may be memory-mapped.
    """

    def __init__(self, rows: Rows, columns: Columns, seed: int = 0) -> None:
        self.rows = rows
        self.seed = seed
        self._columns = columns

    def __getitem__(self, name: str) -> Array:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of rows, not of columns."""
        return len(self.rows)


class Scorer(Protocol):
    """Gives every row one number, `score`, and any named extra columns.

    `requires`, `hard_sign`, `keep` and `passes` are known after `__init__`, which stores and validates its keyword-only
    options and does no work. `settle` is called once the run's length is known.
    """

    requires: Sequence[str]
    hard_sign: Sign
    keep: Keep
    passes: int
    combine: Literal["mean", "sum"]
    version: int

    def settle(self, epochs: int) -> "Scorer":
        """This scorer with every option that was left to the run's length filled in; OptionError if the run is too short."""
        ...

    def fit(self, shard: Shard, state: State | None) -> State: ...

    def merge(self, states: Sequence[State]) -> State: ...

    def score(self, shard: Shard, state: State | None) -> Columns: ...


@runtime_checkable
class Opens(Protocol):
    """What a scorer is besides, if it needs something heavy (a model, a client): it gets it in `open` and lets go of it in `close`.

    `open` is called once in every process that scores shards, before the first of them; `device` is "cpu", "cuda", …. `__init__` does no
    work, and what was opened crosses to no other process.
    """

    def open(self, device: str) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class Identified(Protocol):
    """What a scorer or distiller is besides, if its options name files (a model, a prompt): `identity` tells the manifest what they hold.

    What bears an option's name stands in that option's place, so that a store holds no path and notices other weights under an old name;
    None leaves an option out that changes no score.
    """

    def identity(self) -> Mapping[str, str | None]: ...


@runtime_checkable
class DependsOnMachine(Protocol):
    """What a scorer is besides, if what is installed decides an option that was left open and other choices give other numbers.

    `on_machine` is called once, before the work, and what it decided goes into the manifest: what began a store goes on with it.
    """

    def on_machine(self, recorded: Mapping[str, Any] | None) -> Scorer:
        """This scorer with the option decided: as in `recorded`, the manifest's options of the scores that are there, where any are;
        MissingExtraError where this machine cannot."""
        ...


@runtime_checkable
class Pays(Protocol):
    """What a scorer is besides, if every row may cost a request to somebody's server. It scores in one process, with threads of its own.

    `answers_in` is called before `open`: `folder` is the score's own, where paid answers outlive a kill; more than `max_requests`
    must not be sent. `requests_for` counts what texts would need, and roughly how many tokens, for the estimate; it sends nothing.
    """

    @property
    def server(self) -> str | None:
        """The server's address; None where the options name none, and then the rest is never called."""
        ...

    def answers_in(self, folder: Path, max_requests: int | None) -> None: ...

    def requests_for(self, texts: Sequence[str]) -> tuple[int, int]: ...


@runtime_checkable
class Weighs(Protocol):
    """What a scorer is besides, if what it opens may be too large for a machine: it says so before, from no more than a configuration."""

    def weight(self, device: str) -> int:
        """Bytes that it is going to hold on the device, about; 0 where it opens nothing."""
        ...


@runtime_checkable
class ReadsTarget(Protocol):
    """What a scorer is besides, if it compares rows with the `--target` set, whose columns it names in `requires` as `target.X`.

    The target's rows come in shards of their own, whose columns bear those names: `shard["target.text"]`, `"target.embedding"`,
    `"target.label"`, and of a scorer that `Sweeps` what it saw of them at the checkpoints, `"target.swept.X"`. What
    `merge_target` makes of them, in shard order, is there in every state that `fit` and `score` are handed, under `target.KEY`:
    `{"counts": …}` becomes `state["target.counts"]`. `merge` need not carry it along.
    """

    def fit_target(self, shard: Shard) -> State: ...

    def merge_target(self, states: Sequence[State]) -> State: ...


@runtime_checkable
class TargetOptional(Protocol):
    """What a scorer is besides, if it says something of the rows without a target, too: the scorer to take where none is named."""

    def without_target(self) -> Scorer: ...


@runtime_checkable
class SharesSeeds(Protocol):
    """What a scorer is besides, if a seed's columns depend on the other seeds': they go through `across_seeds` before they are joined."""

    def across_seeds(self, parts: Sequence[Columns]) -> Sequence[Columns]:
        """The columns that `score` gave for one shard, one part a seed (of one seed, too)."""
        ...


@runtime_checkable
class Iterates(Protocol):
    """What a scorer is besides, if its passes are the steps of a method that may arrive before all `passes` are made."""

    def is_done(self, state: State) -> bool:
        """Whether this merged state is the last that `score` needs."""
        ...


@runtime_checkable
class MergesEarly(Protocol):
    """What a scorer is besides, if states may be merged as they come, a few at a time: merge([merge([a, b]), c]) is merge([a, b, c]).

    For states that are large and whose merged state is not larger, as a sample of the rows is: memory then does not grow with the shards.
    """

    @property
    def merges_early(self) -> Literal[True]: ...


@runtime_checkable
class ReadsScores(Protocol):
    """What a scorer is besides, if an option names a store of other scores; that it is of the same dataset is checked beforehand."""

    @property
    def scores_read(self) -> Path | None:
        """The store's folder; None where the options name none."""
        ...


@runtime_checkable
class Concludes(Protocol):
    """What a scorer is besides, if its state says something of the whole set: it goes into the manifest and is printed."""

    def conclude(self, state: State) -> Mapping[str, float | int | str]:
        """Facts by name, in the order in which they are shown."""
        ...


class View(Protocol):
    """One batch of rows, seen by the run's model at one of its checkpoints. What several scorers ask for is computed once.

    `inputs` are the model's arguments, `labels` (b,) int64; the model is in eval mode. `rate` is the learning rate of that epoch.
    """

    epoch: int
    rate: float
    model: "torch.nn.Module"
    inputs: "tuple[Tensor, ...]"
    labels: "Tensor"

    @property
    def logits(self) -> "Tensor":
        """(b, classes) float32."""
        ...

    @property
    def features(self) -> "Tensor":
        """What goes into the last linear layer, (b, d) float32."""
        ...

    @property
    def squared_norms(self) -> "Tensor":
        """‖∇ loss‖² over all trainable parameters, (b,)."""
        ...

    def sketch(self, output: Literal["loss", "log_odds"], width: int, kind: "Projected", seed: int) -> "Tensor":
        """Each row's gradient of its loss, or of its label's log-odds, over all trainable parameters, projected, (b, width) float32."""
        ...

    def input_gradient(self, output: Literal["logit", "prob"]) -> "tuple[Tensor, Tensor]":
        """The gradient of the label's logit or probability by the input, (b, …), and which places are not padding, (b, T) or (b, 1)."""
        ...


@runtime_checkable
class Sweeps(Protocol):
    """What a scorer is besides, if it needs the run's model itself at the checkpoints of some `epochs` (known once it is settled).

    Rows come batch by batch, and every batch at each of these checkpoints in turn: `visit` is handed what the visit before returned, None
    at the first. What `leave` makes of the last, {X: (b,) or (b, width)}, `score` finds as `shard["swept.X"]`, which `requires`
    names; NaN for rows that the model could not see. All scorers of a call share one pass; options are known by their names and values.
    """

    epochs: tuple[int, ...] | None

    def visit(self, view: View, memory: Any) -> Any: ...

    def leave(self, memory: Any) -> "Mapping[str, Tensor]": ...


class PerRow:
    """A scorer whose number for a row depends on that row alone: write `score_rows`, the rest is here."""

    requires: Sequence[str] = ()
    hard_sign: Sign = 0
    keep: Keep = "high"
    passes: int = 0
    combine: Literal["mean", "sum"] = "mean"
    version: int = 1

    def settle(self, epochs: int) -> Self:
        """Nothing depends on the run's length unless a scorer says so."""
        return self

    def score_rows(self, shard: Shard) -> Columns:
        """`score`, (n,) float32, NaN where a row was never seen; further columns under their own names.

        A column `status` of words says why a row without a score has none; "" where there is nothing to say.
        """
        raise TypeError(f"{type(self).__name__} has no `score_rows`; a PerRow scorer must define it.")

    def fit(self, shard: Shard, state: State | None) -> State:
        return {}

    def merge(self, states: Sequence[State]) -> State:
        return {}

    def score(self, shard: Shard, state: State | None) -> Columns:
        return self.score_rows(shard)


class Pool(Protocol):
    """The candidate rows of a selection and their columns.

    `pool["score"]` is what `--by` gave, (n,) float64; `pool["label"]` are class codes, (n,) int64; `pool["datamap.confidence"]` is a
    column of the score store. `rows` are positions in the source, (n,) int64 ascending. `keep` says which end of the score
    to keep, `hard_sign` which end is hard (0: neither is).
    """

    rows: Rows
    keep: Keep
    hard_sign: Sign

    def __getitem__(self, name: str) -> Array: ...

    def __len__(self) -> int: ...


class Sampler(Protocol):
    """Chooses `k` of a pool's rows. `requires` names the pool columns it reads; options are keyword-only in `__init__`."""

    requires: Sequence[str]
    version: ClassVar[int]

    def select(self, pool: Pool, k: int, rng: KeyedRandom) -> tuple[Rows, NDArray[np.float64]]:
        """Indices *into the pool*, (k,) int64, distinct, in the order picked; and their weights, (k,) float64."""
        ...


@runtime_checkable
class NeedsMemory(Protocol):
    """What a sampler is besides, if it can say beforehand how much memory it takes; `--dry-run` prints it, and what cannot fit is
    refused."""

    def memory(self, n: int, d: int, k: int) -> int:
        """Bytes at the peak, to choose `k` of `n` rows with vectors of `d` numbers, besides the vectors themselves."""
        ...


@runtime_checkable
class CountsWork(Protocol):
    """What a sampler is besides, if its time does not simply grow with the candidates: `--dry-run` scales a short trial by it."""

    def work(self, n: int, d: int, k: int) -> float:
        """Steps, up to a constant factor, to choose `k` of `n` rows with vectors of `d` numbers."""
        ...


class Transform(Protocol):
    """From the source's own pixel units (0 … 255, whatever the source has) to the numbers that networks are trained on, and back.

    Both ways take and give (n, channels, height, width) float32 and work on any device; `invert` does not clip.
    """

    def apply(self, pixels: "Tensor") -> "Tensor": ...

    def invert(self, images: "Tensor") -> "Tensor": ...


class RealImages(Protocol):
    """The real training images that a distiller is handed; it never meets the test set.

    `images` are (n, channels, height, width) float32 as `transform` made them, `labels` (n,) int64, both on `device`; every class
    0 … classes-1 has at least `ipc` of them. `rows` are their positions in the source, (n,) int64. `folder` is the distiller's own,
    kept until the job is done: what it writes there whole (`curate.disk.write_whole`), it finds again after a kill. `runs` is another
    folder of that kind, from which finished experts may be taken over (--run), or None.
    """

    @property
    def images(self) -> "Tensor": ...

    @property
    def labels(self) -> "Tensor": ...

    @property
    def rows(self) -> Rows: ...

    @property
    def classes(self) -> int: ...

    @property
    def transform(self) -> Transform: ...

    @property
    def device(self) -> "torch.device": ...

    @property
    def folder(self) -> Path: ...

    @property
    def runs(self) -> Path | None: ...

    @property
    def fingerprint(self) -> str:
        """Changes with any image, label, transform or device kind: experts of another fingerprint are other data's."""
        ...

    @property
    def progress(self) -> Progress: ...


@dataclass(frozen=True)
class Training:
    """How networks are to be trained on a distilled set so that they reach what it can give; the evaluation and the card follow it.

    SGD for `steps` steps of min(`batch`, all) rows, rate `lr`, divided by ten half way. `augment` is a DSA strategy such as
    "color_crop_cutout", "" for none. `network` is one of the evaluation's, with `width` channels where it has any.
    """

    lr: float
    steps: int = 300
    batch: int = 256
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str = ""
    network: str = "convnet"
    width: int = 128


@dataclass(frozen=True, eq=False)
class Distilled:
    """A synthetic set: what a distiller returns.

    `images` (m, channels, height, width) float32 in the source's own units, neither whitened nor clipped; `labels` (m,) int64;
    `soft_labels` (m, classes) float32 probabilities, or None where the labels are hard. `rate` is the learned step size, or None.
    `training` is how to train on it. `history` are named curves over the iterations, such as "loss". `tiles`, (m, t, 5) int64, says where
    the t tiles of each image were cut from, line by line: source row, top, left, height, width in pixels of the images as they were
    handed over; None where images are not cut from others. `facts` are numbers and words by name, to be shown and kept. `compact` is
    what images and labels were expanded from, where that is less and is to be stored instead.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    training: Training
    soft_labels: NDArray[np.float32] | None = None
    rate: float | None = None
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    tiles: NDArray[np.int64] | None = None
    facts: Mapping[str, float | int | str] = field(default_factory=dict)
    compact: Compensated | None = None


class Distiller(Protocol):
    """Makes `ipc` synthetic images a class out of real ones. Options are keyword-only in `__init__`, which does no work.

    `whiten` says in which form it wants the images: True whitened by ZCA, False standardised by channel, None ZCA for colour images
    and standardised grey ones. Known after `__init__`, so an option may set it.
    """

    version: ClassVar[int]

    @property
    def whiten(self) -> bool | None: ...

    def settle(self, data: RealImages, ipc: int, minutes: float | None) -> Self:
        """This distiller with every option filled in that was left to the data's size and shape, `ipc`, and the time at hand.

        With `minutes` it measures its own speed, fits the work to that time, and notes on `data.progress` what it gave up. The
        stage records the outcome's options and, when the job resumes, builds the distiller from them instead of settling
        anew. OptionError for what cannot be honoured.
        """
        ...

    def cost(self, data: RealImages, ipc: int) -> tuple[float, int]:
        """Seconds and bytes of memory that a settled distiller will take, measured on a step or reckoned; for the plan."""
        ...

    def distill(self, data: RealImages, ipc: int, rng: KeyedRandom) -> Distilled:
        """Equal inputs give equal bytes on the CPU, and a killed job, called again with the same folder, those of an undisturbed one."""
        ...

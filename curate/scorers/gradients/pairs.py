"""What scorers share whose influence of a row on a target is the product of their gradients, over one checkpoint or several."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.protocols import Columns, Shard, State, View
from curate.scorers.dynamics.run_length import check_reach
from curate.scorers.gradients.last_layer import prediction_error
from curate.scorers.influence import as_matrix, join_targets, known_targets, summary

if TYPE_CHECKING:
    from torch import Tensor

Layers = Literal["last", "all"]

LAST: Final = ("error", "features")
ALL: Final = ("sketch",)


class AbstractPairs(ABC):
    """Rows and targets by their gradients of the cross-entropy: of the last layer as its two factors, or of all of them as sketches.

    The last layer's product is (e · e') (h · h' + 1), e being the prediction's error and h what goes into the layer, so no gradient is
    kept: classes + d numbers a row and checkpoint, or `width` for all layers. A block of rows x targets is held at a time.
    """

    hard_sign: Literal[0] = 0
    keep: Literal["high"] = "high"
    combine: Literal["mean"] = "mean"
    version = 1
    passes = 0

    epochs: tuple[int, ...] | None
    layers: Layers
    width: int
    pairs: bool

    @property
    def requires(self) -> Sequence[str]:
        return [f"{prefix}swept.{name}" for prefix in ("", "target.") for name in self._kept]

    @property
    def _kept(self) -> Sequence[str]:
        return LAST if self.layers == "last" else ALL

    @abstractmethod
    def weigh(self, gradient: "Tensor", squared_length: "Tensor", rate: float) -> "Tensor":
        """The rows' gradients, (b, width), of squared length (b,), or one factor of them, as they go into the products."""

    def visit(self, view: View, memory: Any) -> "list[list[Tensor]]":
        """What is kept so far: a list a column, an item a checkpoint."""
        if self.layers == "all":
            sketch = view.sketch("loss", self.width, "auto", 0)
            found = [self.weigh(sketch, sketch.square().sum(dim=1), view.rate)]
        else:
            error, features = prediction_error(view.logits, view.labels), view.features
            squared = error.square().sum(dim=1) * (1 + features.square().sum(dim=1))
            found = [self.weigh(error, squared, view.rate), features]
        return [[*before, value] for before, value in zip(memory or [[] for _ in found], found, strict=True)]

    def leave(self, memory: "list[list[Tensor]]") -> "Mapping[str, Tensor]":
        import torch

        return {name: torch.cat(values, dim=1) for name, values in zip(self._kept, memory, strict=True)}

    def fit_target(self, shard: Shard) -> State:
        return known_targets(shard, self._kept)

    def merge_target(self, states: Sequence[State]) -> State:
        return join_targets(states)

    def fit(self, shard: Shard, state: State | None) -> State:
        return {}

    def merge(self, states: Sequence[State]) -> State:
        return {}

    def score(self, shard: Shard, state: State | None) -> Columns:
        assert state is not None and self.epochs is not None, "settled, and met with a target"
        rows = [as_matrix(shard[f"swept.{name}"]) for name in self._kept]
        targets = [state[f"target.{name}"] for name in self._kept]
        count = min(len(self.epochs), rows[0].shape[1])

        def block(some: slice) -> NDArray[np.float32]:
            return _products([values[some] for values in rows], targets, count)

        return summary(len(shard), state["target.row"], block, pairs=self.pairs)


def check_width(method: str, width: int) -> None:
    """OptionError for a width that no sketch has."""
    if width < 1:
        raise OptionError(f"{method}: width must be 1 or more, got {width}.")


def last_checkpoint(method: str, chosen: tuple[int, ...] | None, epochs: int) -> tuple[int, ...]:
    """The epochs named, or the run's last; OptionError where one lies beyond the run."""
    found = chosen or (epochs,)
    check_reach(method, f"epoch {max(found)}", max(found), epochs, instead=f"epochs={epochs}")
    return found


def _products(rows: Sequence[NDArray[np.float32]], targets: Sequence[NDArray[np.float32]], count: int) -> NDArray[np.float32]:
    """(rows, targets): the sum over checkpoints, of sketches in one product, of factors a pair of products each."""
    if len(rows) == 1:
        return np.asarray(rows[0] @ targets[0].T, np.float32)
    total = np.zeros((len(rows[0]), len(targets[0])), np.float32)
    for k in range(count):
        (e, et), (h, ht) = ((_part(a, k, count), _part(b, k, count)) for a, b in zip(rows, targets, strict=True))
        total += (e @ et.T) * (h @ ht.T + 1)
    return total


def _part(values: NDArray[np.float32], k: int, count: int) -> NDArray[np.float32]:
    width = values.shape[1] // count
    return values[:, k * width : (k + 1) * width]

"""TRAK: how much a row moves the model's output on a target, by a linear model of the network in projected gradients.

Park, Georgiev, Ilyas, Leclerc, Madry 2023, "TRAK: Attributing Model Behavior at Scale"; official code MadryLab/trak.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular

from curate.errors import InputError, OptionError
from curate.protocols import Columns, Projected, Shard, Sign, State, View
from curate.scorers.dynamics.run_length import check_reach
from curate.scorers.gradients.epochs import check_epochs, evenly_spaced
from curate.scorers.influence import as_matrix, join_targets, known_targets, summary

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 4096  # rows of a matrix product in float32, whose results are added up in float64

Matrix = NDArray[np.float64]


class Trak:
    """Mean influence of a row on the --target rows' log-odds of their labels; high raises them, and is kept.

    With f = log p / (1 - p) of the label, φ its gradient over all trainable parameters projected to `width` numbers (`projection`: dense
    signs as the authors', or for large networks sparse ones) and K = Σ φφᵀ over the rows, `score` is the mean over targets of
    φ(target)ᵀ (K + λI)⁻¹ φ(row), averaged over checkpoints, times the row's 1 - p, averaged over checkpoints: two separate means, as in
    the official code, and across --seeds, too, which are the paper's ensemble. 1 - p turns the gradient of f into that of the loss, so
    a row that is already learned has little influence. `most` and `least` are its extremes, `most_on` and `least_on` their target rows;
    `pairs=true` keeps `influence`, (n, targets). Without a target: the row's influence on itself, high for hard and mislabelled rows.

    `count` checkpoints, evenly spaced over the last third of the run, or those in `epochs`; the paper takes the last of many runs. λ is
    `ridge` times the mean of K's eigenvalues (its trace over `width`), so that it means the same for any number of rows and parameters.
    The official `lambda_reg` is an absolute number, 0 by default: then directions that hardly any row moves count most, and K has no
    inverse where there are fewer rows than `width`. With one model, influence agreed best with retraining at 1 to 3 times the mean, in
    logistic regressions of two decays and a perceptron, at widths of 128 to 2048 (`benchmarks/trak_ridge.py`); 0.01 lost a
    quarter to a half of it. The official code keeps gradients and kernel in half precision and divides each checkpoint's
    inverse by its own mean size, which weighs the checkpoints by chance where there are several; we keep float32 and divide by
    nothing. Costs a forward and a backward pass and the projection a row and checkpoint; rows x width x 4 bytes on disk a checkpoint; in
    memory a shard's (a smaller --shard-rows lessens it), the targets', and width² numbers.
    """

    keep: Literal["high"] = "high"
    combine: Literal["mean"] = "mean"
    version = 2
    passes = 1

    def __init__(
        self,
        *,
        width: int = 2048,
        ridge: float = 1.0,
        projection: Projected = "auto",
        count: int = 3,
        epochs: tuple[int, ...] | None = None,
        pairs: bool = False,
        on: Literal["target", "itself"] = "target",
    ) -> None:
        if width < 1 or count < 1:
            raise OptionError(f"trak: width and count must be 1 or more, got width={width}, count={count}.")
        if not 0 <= ridge < np.inf:
            raise OptionError(f"trak: ridge must be 0 or more, got {ridge}.")
        if pairs and on == "itself":
            raise OptionError("trak: pairs are of rows and targets, and on=itself has no target. Leave one of the two out.")
        self.width, self.ridge, self.projection, self.count, self.pairs, self.on = width, ridge, projection, count, pairs, on
        self.epochs = check_epochs("trak", epochs)
        targets = ("target.swept.sketch",) if on == "target" else ()
        self.requires: Sequence[str] = ("swept.sketch", "swept.miss", *targets)
        self.hard_sign: Sign = 1 if on == "itself" else 0

    def without_target(self) -> "Trak":
        """The row's influence on itself; OptionError where pairs are asked for."""
        if self.pairs:
            raise OptionError("trak:pairs=true keeps the influence on each target row, and no target is named. Name one: --target DATA.")
        return self._with(on="itself")

    def settle(self, epochs: int) -> "Trak":
        """The last third's checkpoints where none were named; OptionError where one lies beyond the run."""
        last = max(1, min(epochs, max(self.count, epochs // 3)))
        found = self.epochs or evenly_spaced(epochs - last + 1, epochs, self.count)
        check_reach("trak", f"epoch {max(found)}", max(found), epochs)
        return self._with(epochs=found)

    def _with(self, **changed: Any) -> "Trak":
        names = ("width", "ridge", "projection", "count", "epochs", "pairs", "on")
        return type(self)(**{name: getattr(self, name) for name in names} | changed)

    def visit(self, view: View, memory: Any) -> "tuple[list[Tensor], Tensor]":
        """The sketches so far, (b, width) each, and the sum of 1 - p, (b,)."""
        sketch = view.sketch("log_odds", self.width, self.projection, 0)
        miss = 1 - view.logits.softmax(dim=1).gather(1, view.labels[:, None])[:, 0]
        return ([sketch], miss) if memory is None else ([*memory[0], sketch], memory[1] + miss)

    def leave(self, memory: Any) -> "Mapping[str, Tensor]":
        import torch

        sketches, miss = memory
        return {"sketch": torch.cat(sketches, dim=1), "miss": miss / len(sketches)}

    def fit_target(self, shard: Shard) -> State:
        return known_targets(shard, ["sketch"])

    def merge_target(self, states: Sequence[State]) -> State:
        return join_targets(states)

    def fit(self, shard: Shard, state: State | None) -> State:
        """K of each checkpoint, (checkpoints, width, width) float64."""
        kernel = None
        for features in self._each(as_matrix(shard["swept.sketch"])):
            known = features[np.isfinite(features).all(axis=(1, 2))].transpose(1, 0, 2)  # (checkpoints, rows, width)
            product = np.matmul(known.transpose(0, 2, 1), known).astype(np.float64)
            kernel = product if kernel is None else kernel + product
        assert kernel is not None, "a shard has rows"
        return {"kernel": kernel}

    def merge(self, states: Sequence[State]) -> State:
        return {"kernel": np.sum([state["kernel"] for state in states], axis=0)}

    def score(self, shard: Shard, state: State | None) -> Columns:
        """Still without 1 - p, which `across_seeds` brings in once all seeds are there."""
        assert state is not None, "a pass has run"
        features = as_matrix(shard["swept.sketch"])
        miss = {"miss": np.asarray(shard["swept.miss"], np.float32)}
        factors = [self._factor(kernel) for kernel in state["kernel"]]
        if self.on == "itself":
            return {"score": np.concatenate([_on_itself(part, factors) for part in self._each(features)])} | miss
        targets = self._stacked(state["target.sketch"]).astype(np.float64)
        solved = np.concatenate([cho_solve(factor, targets[:, k].T) for k, factor in enumerate(factors)])  # (checkpoints x width, targets)
        mean = (solved / len(factors)).astype(np.float32)
        return dict(summary(len(shard), state["target.row"], lambda rows: features[rows] @ mean, pairs=self.pairs)) | miss

    def across_seeds(self, parts: Sequence[Columns]) -> Sequence[Columns]:
        """Every seed's influences times the mean of all seeds' 1 - p."""
        miss = np.stack([part["miss"] for part in parts]).mean(axis=0, dtype=np.float64)
        weighed = ("score", "most", "least", "influence")
        return [
            {name: (v * (miss[:, None] if v.ndim == 2 else miss)).astype(np.float32) if name in weighed else v for name, v in part.items()}
            for part in parts
        ]

    def _stacked(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, checkpoints, width)."""
        return features.reshape(len(features), -1, min(self.width, features.shape[1]))

    def _each(self, features: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """(rows, checkpoints, width) of a few thousand rows at a time."""
        return (self._stacked(features[start : start + BLOCK]) for start in range(0, len(features), BLOCK))

    def _factor(self, kernel: Matrix) -> Any:
        """Cholesky's factor of K + λI; InputError where it has none."""
        width = len(kernel)
        scale = float(np.trace(kernel)) / width
        try:
            return cho_factor(kernel + self.ridge * scale * np.eye(width), lower=True)
        except LinAlgError:
            raise InputError(
                f"The rows' projected gradients do not span their {width} dimensions (ridge={self.ridge:g}): their kernel has no inverse. "
                "Set a ridge above 0, or a smaller width: trak:ridge=0.01,width=512."
            ) from None


def _on_itself(features: NDArray[np.float32], factors: Sequence[Any]) -> NDArray[np.float32]:
    """φᵀ (K + λI)⁻¹ φ, the mean over checkpoints, (rows,): the length of what Cholesky's factor makes of φ."""
    known = np.isfinite(features).all(axis=(1, 2))
    found = np.full(len(features), np.nan, np.float32)
    total = np.zeros(int(known.sum()))
    for k, (lower, _) in enumerate(factors):
        half = solve_triangular(lower, features[known, k].T.astype(np.float64), lower=True)
        total += np.einsum("ij,ij->j", half, half)
    found[known] = total / len(factors)
    return found

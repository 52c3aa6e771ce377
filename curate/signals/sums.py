"""The recorder's memory within an epoch: one running sum a row and scalar, on the device that trains."""

from collections.abc import Mapping
from typing import Any, Final

import torch
import torch.distributed
from torch import Tensor

from curate.errors import InputError
from curate.signals.measures import KAPPA, MEASURES, floored_log_probs, kappa, measure

KAPPA_FULL_PRECISION_BYTES: Final = 1 << 30


def row_numbers(rows: Any, n: int, whose: str) -> Tensor:
    """Row numbers as a loop gives them, (b,) int64; InputError unless they are whole and, on the CPU, within 0 … n-1."""
    try:
        where = torch.as_tensor(rows).reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        raise _not_whole(f"a {type(rows).__name__}") from None
    if len(where) and (where.is_floating_point() or where.is_complex() or where.dtype == torch.bool):
        raise _not_whole(str(where.dtype))
    if where.device.type == "cpu" and len(where):  # a GPU is not waited for
        low, high = int(where.min()), int(where.max())
        if low < 0 or high >= n:
            raise InputError(f"Row {low if low < 0 else high} is out of range: the {whose} has rows 0 … {n - 1}.")
    return where.long()


def _not_whole(found: str) -> InputError:
    return InputError(f"rows must be whole numbers, got {found}. Let the dataset give each row's position with it, and pass those.")


class RowSums:
    """Sums over the visits of each row within one epoch; O(rows) memory: 44 bytes a row, and classes x 4 (or 2) more for kappa.

    A row that comes twice in a batch is counted twice; a presentation whose loss is not finite is skipped and counted in
    `skipped`. Kappa compares with the row's previous presentation, which outlives the epoch.
    """

    def __init__(self, n: int, classes: int | None, *, device: torch.device, with_kappa: bool) -> None:
        self.n = n
        self.classes = classes
        self.sums = torch.zeros(n, len(MEASURES) + 1, device=device)  # (n, 8): MEASURES, then kappa
        self.visits = torch.zeros(n, 2, dtype=torch.int32, device=device)  # (n, 2): of the measures, of kappa
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.previous: Tensor | None = None
        if with_kappa and classes:
            # float32 while it is small; the published code keeps float32, and at 1.28 M x 1000 nobody can
            exact = n * classes * 4 <= KAPPA_FULL_PRECISION_BYTES
            self.previous = torch.full((n, classes), torch.nan, dtype=torch.float32 if exact else torch.float16, device=device)
            self._last = torch.zeros(n, dtype=torch.int64, device=device)

    def add_logits(self, rows: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds one batch: rows (b,) int64, logits (b, classes), labels (b,) int64, below 0 where missing: such a row is skipped."""
        values = torch.zeros(len(rows), len(MEASURES) + 1, device=self.sums.device)
        values[:, :-1] = measure(logits, labels.clamp_min(0))
        finite = values[:, 0].isfinite() & values[:, 1].isfinite() & (labels >= 0)
        moved = torch.zeros_like(finite)
        if self.previous is not None:
            now = floored_log_probs(logits)
            change = kappa(now, self.previous[rows])
            moved = finite & change.isfinite()
            values[:, -1] = change
            self._remember(rows, now, finite)
        values[:, :-1].masked_fill_(~finite[:, None], 0)
        values[:, -1].masked_fill_(~moved, 0)
        self._add(rows, values, torch.stack((finite, moved), dim=1))

    def add_loss(self, rows: Tensor, loss: Tensor) -> None:
        """Adds one batch of which only the loss is known, (b,)."""
        values = torch.zeros(len(rows), len(MEASURES) + 1, device=self.sums.device)
        finite = loss.isfinite()
        values[:, 0] = torch.where(finite, loss.detach().float(), 0)
        values[:, MEASURES.index("correct")] = (finite & (values[:, 0].neg().exp() >= 0.5)).float()
        self._add(rows, values, torch.stack((finite, torch.zeros_like(finite)), dim=1))

    def means(self) -> dict[str, Tensor]:
        """Each scalar's mean over the epoch's visits, (n,) float32 on the CPU, NaN where there was none; and `visits`, (n,) int32."""
        visits = self.visits.cpu()
        sums = self.sums.cpu()
        means = {name: _mean(sums[:, i], visits[:, 0]) for i, name in enumerate(MEASURES)}
        if self.previous is not None:
            means[KAPPA] = _mean(sums[:, -1], visits[:, 1])
        return means | {"visits": visits[:, 0].clone()}

    def loss_means(self) -> dict[str, Tensor]:
        """The means of what a loss alone tells."""
        means = self.means()
        return {name: means[name] for name in ("loss", "correct", "visits")}

    def clear(self) -> None:
        """Starts the next epoch; the previous presentations stay."""
        self.sums.zero_()
        self.visits.zero_()
        self.skipped.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a resumed process needs, as tensors."""
        state = {"sums": self.sums, "visits": self.visits, "skipped": self.skipped}
        return state | ({"previous": self.previous} if self.previous is not None else {})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes a `state_dict` of a recorder over as many rows and classes; ValueError otherwise."""
        for name, own in self.state_dict().items():
            if name not in state or state[name].shape != own.shape:
                found = tuple(state[name].shape) if name in state else "nothing"
                raise ValueError(f"recorder state {name!r} is {found}, expected {tuple(own.shape)}: it belongs to another dataset or model")
            own.copy_(state[name])

    def merge(self, state: Mapping[str, Tensor]) -> None:
        """Adds what another rank saw of this epoch. Its previous presentations win for the rows that it visited."""
        other = {name: value.to(self.sums.device) for name, value in state.items()}
        if self.previous is not None and "previous" in other:
            seen = other["visits"][:, 0] > 0
            self.previous[seen] = other["previous"][seen]
        self.sums += other["sums"]
        self.visits += other["visits"]
        self.skipped += other["skipped"]

    def all_reduce(self) -> None:
        """Adds up what all ranks saw, on every rank. Of two ranks that visited a row, the higher one's is its previous presentation."""
        if self.previous is not None:
            visited = self.visits[:, 0] > 0
            rank = torch.distributed.get_rank()
            last = torch.where(visited, rank, -1)
            torch.distributed.all_reduce(last, torch.distributed.ReduceOp.MAX)
            newest = torch.where((last == rank)[:, None], self.previous, 0)
            torch.distributed.all_reduce(newest)
            self.previous = torch.where((last >= 0)[:, None], newest, self.previous)
        for total in (self.sums, self.visits, self.skipped):
            torch.distributed.all_reduce(total)

    def _add(self, rows: Tensor, values: Tensor, counted: Tensor) -> None:
        self.sums.index_add_(0, rows, values)  # index_add_, not an indexed +=, which loses rows that come twice
        self.visits.index_add_(0, rows, counted.int())
        self.skipped += (~counted[:, 0]).sum()

    def _remember(self, rows: Tensor, now: Tensor, finite: Tensor) -> None:
        """Keeps each row's newest finite presentation. Twice in one batch, the later one wins, whichever thread writes first:
        every copy writes the winner's values."""
        assert self.previous is not None, "called with kappa on"
        order = torch.arange(len(rows), device=rows.device)
        self._last.scatter_reduce_(0, rows, order, "amax", include_self=False)
        winner = self._last[rows]
        kept = torch.where(finite[winner][:, None], now[winner].to(self.previous.dtype), self.previous[rows])
        self.previous[rows] = kept


def _mean(total: Tensor, count: Tensor) -> Tensor:
    return torch.where(count > 0, total / count.clamp_min(1), torch.nan)

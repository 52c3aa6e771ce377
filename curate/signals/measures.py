"""What one presentation of a row says: eight scalars of its logits, sufficient for every logit scorer."""

from typing import Final

import torch
from torch import Tensor

# The order of the columns in a recorder's sums; the names are those of the signals `dynamics.X` and `eval.X`.
MEASURES: Final = ("loss", "m_logit", "m_prob", "entropy", "el2n", "el1", "correct")
KAPPA: Final = "kappa"
KAPPA_FLOOR: Final = 1e-8


def measure(logits: Tensor, labels: Tensor) -> Tensor:
    """The scalars of MEASURES for each row, (b, 7) float32, from logits (b, classes) of any float type and labels (b,) int64.

    loss = -log p_y (nats); m_logit = z_y - max of the other logits; m_prob the same of probabilities; entropy in nats;
    el2n = |p - onehot(y)|_2; el1 = |p - onehot(y)|_1 = 2 (1 - p_y); correct = 1 where z_y is the strict maximum, so that renaming
    classes changes nothing. Everything is float32 whatever comes in.
    """
    z = logits.detach().float()
    y = labels.view(-1, 1)
    log_p = torch.log_softmax(z, dim=1)  # (b, classes)
    error = log_p.exp()  # (b, classes): p, and p - onehot(y) after the entropy is taken
    entropy = -(error * log_p.clamp_min(-1e30)).sum(dim=1)  # 0 · -inf is 0 here, not NaN
    log_p_y = log_p.gather(1, y).squeeze(1)
    z_y = z.gather(1, y).squeeze(1)
    z_other = z.scatter(1, y, -torch.inf).amax(dim=1)
    p_y = log_p_y.exp()
    p_other = (z_other - z_y + log_p_y).exp()
    error.scatter_add_(1, y, torch.full_like(y, -1, dtype=error.dtype))
    columns = (
        -log_p_y,
        z_y - z_other,
        p_y - p_other,
        entropy,
        torch.linalg.vector_norm(error, dim=1),
        -2 * torch.expm1(log_p_y),  # 2 (1 - p_y) without cancellation near p_y = 1
        (z_y > z_other).float(),
    )
    return torch.stack(columns, dim=1)


def floored_log_probs(logits: Tensor) -> Tensor:
    """log(p + 1e-8), (b, classes) float32: what TDDS compares between presentations."""
    return (logits.detach().float().softmax(dim=1) + KAPPA_FLOOR).log()


def kappa(new: Tensor, old: Tensor) -> Tensor:
    """TDDS' change between two presentations, sum over classes of |p_new (log p_new - log p_old)|, (b,); not a divergence: the
    absolute value stands inside the sum. Both arguments are floored log-probabilities, (b, classes)."""
    return ((new.exp() - KAPPA_FLOOR) * (new - old.to(new.dtype))).abs().sum(dim=1)

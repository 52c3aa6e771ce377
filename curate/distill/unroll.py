"""The gradient of a trajectory-matching loss with respect to synthetic images, labels and the student's rate, by three engines.

A student starts at an expert's weights, takes N steps of SGD on synthetic batches, and should end at a later point of the expert's way:

    v_{i+1} = momentum * v_i + grad loss(theta_i, x_i, y_i),   theta_{i+1} = theta_i - rate * v_{i+1}
    L = ||theta_N - target||^2 / ||theta_0 - target||^2

`adjoint` walks back through the N steps with lam = dL/dtheta_i and forms one step's graph at a time: its activations take
as much memory as one step whatever N is, and its gradient is the exact one. `unrolled` keeps the graph of all N steps, as MTT does: the
reference, and the faster one where it fits. `truncated` holds lam at dL/dtheta_N all the way, which is what TESLA's formula and code
compute; the paper calls it exact, but it is so only to first order in rate * N * curvature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def each(loss: Loss) -> Loss:
    """The losses of k students from the loss of one: `loss(theta, x, y)` of (size,), (b, …), (b, classes), a scalar."""

    def losses(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        own = 0 if y.dim() == 3 else None
        found: Tensor = torch.func.vmap(loss, in_dims=(0, own, own))(theta, x, y)
        return found

    return losses


NO_LIMIT: Final = float("inf")


class Feed(Protocol):
    """What students are trained on: each step's batches out of the synthetic set, differentiable in both arguments.

    Called again for a step it must give the same: augmentation is drawn beforehand. Gives images (k, b, …) and label probabilities
    (k, b, classes) for k students side by side, or (b, …) and (b, classes) where all of them see the same.
    """

    @property
    def steps(self) -> int: ...

    def batch(self, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, eq=False)
class Student:
    """How students are trained: `losses(theta, x, y)` of k flat vectors of weights (k, size), (k,); on what; with which momentum.

    `x` and `y` are the feed's. The losses of different students must not depend on each other: one sum serves for all their gradients.
    """

    losses: Loss
    feed: Feed
    momentum: float = 0.0


class Waypoint(NamedTuple):
    """After `step` steps the students should be at `theta`, (k, size); `weight` is that of its term in the matching loss."""

    step: int
    theta: Tensor
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Segments:
    """k stretches of expert trajectories, matched side by side.

    `start` is (k, size); the last of `waypoints` is the target. `scale`, (k,), multiplies each student's training loss. `mask`, (size,),
    says which weights count in the matching loss.
    """

    start: Tensor
    waypoints: Sequence[Waypoint]
    scale: Tensor | None = None
    mask: Tensor | None = None


class Synthetic(NamedTuple):
    """What is learned, or its gradient: images (n, …), labels in whatever form the feed takes (n, classes), and the rate, ()."""

    images: Tensor
    labels: Tensor
    rate: Tensor


class Matched(NamedTuple):
    """The matching loss of each segment, (k,), and the gradient of the mean over those that count."""

    loss: Tensor
    gradient: Synthetic


Engine = Callable[[Student, Segments, Synthetic, float], Matched]


def adjoint(student: Student, segments: Segments, synthetic: Synthetic, limit: float = NO_LIMIT) -> Matched:
    """The exact gradient with the activations of one step. Keeps (steps + 1) k size weights; 4/3 of the arithmetic of `unrolled`.

    Segments with a matching loss above `limit` do not count; where none does, the gradients are 0.
    """
    return _walk_back(student, segments, synthetic, limit, exact=True)


def truncated(student: Student, segments: Segments, synthetic: Synthetic, limit: float = NO_LIMIT) -> Matched:
    """TESLA's gradient (Cui et al. 2023): every step's weights count as constants, so the curvature along the way is lost."""
    return _walk_back(student, segments, synthetic, limit, exact=False)


def unrolled(student: Student, segments: Segments, synthetic: Synthetic, limit: float = NO_LIMIT) -> Matched:
    """The exact gradient through the graph of all steps at once; activations grow with their number."""
    leaves = Synthetic(*(leaf.detach().requires_grad_() for leaf in synthetic))
    theta = segments.start.detach().clone().requires_grad_()
    path, velocity = [theta], torch.zeros_like(theta)
    for step in range(student.feed.steps):
        velocity = student.momentum * velocity + _slope(student, segments, theta, step, leaves, keep=True)
        theta = theta - leaves.rate * velocity
        path.append(theta)
    losses = matching_loss(segments, path)  # (k,)
    total = (losses * _weights(losses.detach(), limit)).sum()
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return Matched(losses.detach(), Synthetic(*(_filled(*pair) for pair in zip(found, leaves, strict=True))))


ENGINES: Final[Mapping[str, Engine]] = {"adjoint": adjoint, "unrolled": unrolled, "truncated": truncated}


def roll_out(student: Student, segments: Segments, synthetic: Synthetic) -> list[Tensor]:
    """The weights of k students before the first step and after every one: steps + 1 tensors (k, size), without a graph."""
    fixed = Synthetic(*(leaf.detach() for leaf in synthetic))
    path, velocity = [segments.start.detach()], torch.zeros_like(segments.start)
    for step in range(student.feed.steps):
        theta = path[-1].detach().requires_grad_()
        velocity = student.momentum * velocity + _slope(student, segments, theta, step, fixed)
        path.append(path[-1] - fixed.rate * velocity)
    return path


def matching_loss(segments: Segments, path: Sequence[Tensor]) -> Tensor:
    """What students on this path left to be done, (k,): 0 at the target, 1 as far from it as at the start."""
    return torch.stack([_share_left(segments, point, path[point.step]) for point in segments.waypoints]).sum(0)


def _walk_back(student: Student, segments: Segments, synthetic: Synthetic, limit: float, *, exact: bool) -> Matched:
    # Let g_i = grad loss(theta_i, …), lam = dL/dtheta_{i+1} and w_i = lam + momentum * w_{i+1}, held constant. Then L's derivative by
    # anything in g_i is -rate * d<w_i, g_i>, that by the rate is -sum_i <w_i, g_i>, and dL/dtheta_i = lam - rate * d<w_i, g_i>/dtheta_i.
    path = roll_out(student, segments, synthetic)
    losses = matching_loss(segments, path)  # (k,)
    weights = _weights(losses, limit)
    leaves = Synthetic(*(leaf.detach().requires_grad_() for leaf in synthetic))
    total = Synthetic(*(torch.zeros_like(leaf) for leaf in synthetic))
    if not bool(weights.any()):
        return Matched(losses, total)
    at = {point.step: point for point in segments.waypoints}
    rate, lam, w = synthetic.rate.detach(), torch.zeros_like(segments.start), torch.zeros_like(segments.start)
    for step in reversed(range(student.feed.steps)):
        after = path.pop()
        if step + 1 in at:
            lam = lam + weights[:, None] * _pull(segments, at[step + 1], after)
        w = lam + student.momentum * w
        theta = path[-1].requires_grad_()
        phi = (w * _slope(student, segments, theta, step, leaves, keep=True)).sum()
        wanted = (leaves.images, leaves.labels, theta) if exact else (leaves.images, leaves.labels)
        found = torch.autograd.grad(phi, wanted, allow_unused=True)
        total.images.sub_(rate * _filled(found[0], leaves.images))
        total.labels.sub_(rate * _filled(found[1], leaves.labels))
        total.rate.sub_(phi.detach())
        if exact:
            lam = lam - rate * _filled(found[2], theta)
    return Matched(losses, total)


def _slope(student: Student, segments: Segments, theta: Tensor, step: int, synthetic: Synthetic, *, keep: bool = False) -> Tensor:
    """The gradient of each student's loss by its own weights, (k, size); with `keep`, differentiable in turn."""
    x, y = student.feed.batch(step, synthetic.images, synthetic.labels)
    losses = student.losses(theta, x, y)  # (k,)
    total = losses.sum() if segments.scale is None else (losses * segments.scale).sum()
    slope: Tensor = torch.autograd.grad(total, theta, create_graph=keep)[0]
    return slope


def _share_left(segments: Segments, point: Waypoint, theta: Tensor) -> Tensor:
    mask = 1.0 if segments.mask is None else segments.mask
    left, whole = mask * (theta - point.theta).square(), mask * (segments.start - point.theta).square()
    return point.weight * left.sum(1) / whole.sum(1)


def _pull(segments: Segments, point: Waypoint, theta: Tensor) -> Tensor:
    """The gradient of `_share_left` by theta, (k, size)."""
    mask = 1.0 if segments.mask is None else segments.mask
    whole = mask * (segments.start - point.theta).square()
    return 2 * point.weight * mask * (theta - point.theta) / whole.sum(1, keepdim=True)


def _weights(losses: Tensor, limit: float) -> Tensor:
    """1 / how many segments count for each that does, 0 for the others. A loss that is not a number counts: it must not pass unseen."""
    counts = ~(losses > limit)
    return counts / counts.sum().clamp_min(1).to(losses.dtype)


def _filled(gradient: Tensor | None, like: Tensor) -> Tensor:
    """Hard labels, and images that no batch held, leave a gradient out: it is 0."""
    return torch.zeros_like(like) if gradient is None else gradient

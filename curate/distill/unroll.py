"""The gradient of a trajectory-matching loss with respect to synthetic images, labels and the student's rate, by three engines.

A student starts at an expert's weights, takes N steps of SGD on synthetic batches, and should end at a later point of the expert's way:

    v_{i+1} = momentum * v_i + grad loss(theta_i, x_i, y_i),   theta_{i+1} = theta_i - rate * v_{i+1}
    L = ||theta_N - target||^2 / ||theta_0 - target||^2

`adjoint` walks back through the N steps with lam = dL/dtheta_i and takes one step at a time: its activations need as much memory as one
step whatever N is, and its gradient is the exact one. `unrolled` keeps what all N steps have left, as MTT does, and is the faster one where
that fits; without written derivatives it is autograd's own graph, the reference. `truncated` holds lam at dL/dtheta_N all the way, which is
what TESLA's formula and code compute; the paper calls it exact, but it is so only to first order in rate * N * curvature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor

from curate.distill.derivatives import Derivatives, Walk

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
    `written` are the derivatives of `losses` without autograd, where there are any: the same numbers, sooner.
    """

    losses: Loss
    feed: Feed
    momentum: float = 0.0
    written: Derivatives | None = None


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
    """The exact gradient with the activations of one step. Keeps (steps + 1) k size weights; 11/9 of the arithmetic of `unrolled`,
    or 12/9 where the derivatives are not written out.

    Segments with a matching loss above `limit` do not count; where none does, the gradients are 0.
    """
    return _walk_back(student, segments, synthetic, limit, exact=True)


def truncated(student: Student, segments: Segments, synthetic: Synthetic, limit: float = NO_LIMIT) -> Matched:
    """TESLA's gradient (Cui et al. 2023): every step's weights count as constants, so the curvature along the way is lost."""
    return _walk_back(student, segments, synthetic, limit, exact=False)


def unrolled(student: Student, segments: Segments, synthetic: Synthetic, limit: float = NO_LIMIT) -> Matched:
    """The exact gradient from the activations of all steps at once: by their graph, unless the derivatives are written out."""
    if student.written is not None:
        return _walk_back(student, segments, synthetic, limit, exact=True, keep=True)
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
    return _rolled(student, segments, synthetic, keep=False)[0]


def _rolled(student: Student, segments: Segments, synthetic: Synthetic, *, keep: bool) -> tuple[list[Tensor], list[Walk]]:
    fixed = Synthetic(*(leaf.detach() for leaf in synthetic))
    path, walks, velocity = [segments.start.detach()], list[Walk](), torch.zeros_like(segments.start)
    for step in range(student.feed.steps):
        if student.written is None:
            slope = _slope(student, segments, path[-1].detach().requires_grad_(), step, fixed)
        else:
            x, y = student.feed.batch(step, fixed.images, fixed.labels)
            slope, walk = student.written.slope(path[-1], x, y, segments.scale)
            walks += [walk] if keep else []
        velocity = student.momentum * velocity + slope
        path.append(path[-1] - fixed.rate * velocity)
    return path, walks


def matching_loss(segments: Segments, path: Sequence[Tensor]) -> Tensor:
    """What students on this path left to be done, (k,): 0 at the target, 1 as far from it as at the start."""
    return torch.stack([_share_left(segments, point, path[point.step]) for point in segments.waypoints]).sum(0)


def _walk_back(student: Student, segments: Segments, synthetic: Synthetic, limit: float, *, exact: bool, keep: bool = False) -> Matched:
    # Let g_i = grad loss(theta_i, …), lam = dL/dtheta_{i+1} and w_i = lam + momentum * w_{i+1}, held constant. Then L's derivative by
    # anything in g_i is -rate * d<w_i, g_i>, that by the rate is -sum_i <w_i, g_i>, and dL/dtheta_i = lam - rate * d<w_i, g_i>/dtheta_i.
    path, walks = _rolled(student, segments, synthetic, keep=keep)
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
        walk = walks.pop() if walks else None
        phi, by_images, by_labels, by_theta = _derivatives(student, segments, path[-1], step, leaves, w, walk, exact=exact)
        total.images.sub_(rate * _filled(by_images, leaves.images))
        total.labels.sub_(rate * _filled(by_labels, leaves.labels))
        total.rate.sub_(phi)
        if exact:
            lam = lam - rate * _filled(by_theta, w)
    return Matched(losses, total)


def _derivatives(
    student: Student, segments: Segments, theta: Tensor, step: int, leaves: Synthetic, w: Tensor, walk: Walk | None, *, exact: bool
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """<w, g> of a step, and its derivatives by images, labels and, if `exact`, theta; None where it does not depend on them."""
    if student.written is None:
        theta = theta.requires_grad_()
        phi = (w * _slope(student, segments, theta, step, leaves, keep=True)).sum()
        wanted = (leaves.images, leaves.labels, theta) if exact else (leaves.images, leaves.labels)
        by_images, by_labels, *rest = torch.autograd.grad(phi, wanted, allow_unused=True)
        return phi.detach(), by_images, by_labels, rest[0] if rest else None
    x, y = student.feed.batch(step, leaves.images, leaves.labels)
    walk = walk or student.written.walk(theta, x.detach(), y.detach(), segments.scale)
    found = student.written.twice(walk, w, by_theta=exact)
    made, slopes = zip(*((one, by) for one, by in ((x, found.x), (y, found.y)) if one.requires_grad), strict=True)
    by_images, by_labels = torch.autograd.grad(made, (leaves.images, leaves.labels), slopes, allow_unused=True)
    return found.value, by_images, by_labels, found.theta


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

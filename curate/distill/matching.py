"""The outer loop of trajectory matching: draws segments of the experts' ways, and moves images, labels and rate down the engines' gradient.

It writes its state down every so many iterations and, killed, goes on from there to the same bytes. Where a loss is not a number it goes
back to the last state that it wrote down, halves every rate and says so.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from curate.disk import write_whole
from curate.distill.augment import DSA, Draw
from curate.distill.experts import Experts
from curate.distill.networks import Network
from curate.distill.unroll import ENGINES, Matched, Segments, Student, Synthetic, Waypoint
from curate.errors import InputError
from curate.progress import Progress
from curate.rng import KeyedRandom

EngineName = Literal["adjoint", "unrolled", "truncated"]
SAVE_EVERY: Final = 20
MOMENTA: Final = (0.5, 0.9, 0.5)  # of images, labels and rate, in all official code
SLOWEST: Final = 1e-6  # what the student's rate stays within; an iteration at most halves or doubles it
FASTEST: Final = 1.0
TOO_OFTEN: Final = 50  # iterations in a row that the rate may hit a bound
MOST_RESTARTS: Final = 8
AVERAGED: Final = 100  # last iterations over which assigned labels are averaged
PIXEL_STEP: Final = 0.02  # share of a pixel's deviation (1 once standardised) by which the first steps should move the fastest pixel


@dataclass(frozen=True)
class Window:
    """From which epochs segments start: first … end-1, where `end` grows from `end` to `last_end` within `over` iterations."""

    first: int
    end: int
    last_end: int
    over: int = 0

    def end_at(self, iteration: int) -> int:
        """The exclusive upper bound of the start epoch.

        >>> [Window(0, 10, 20, over=1000).end_at(i) for i in (0, 500, 1000, 5000)]
        [10, 15, 20, 20]
        """
        if not self.over:
            return self.last_end
        return min(self.last_end, self.end + (self.last_end - self.end) * iteration // self.over)


@dataclass(frozen=True)
class Plan:
    """Everything that the loop is told: students of `steps` steps follow experts for `span` epochs, `segments` side by side.

    `batch` rows a step (0: all). `rates` of images (None: found by `PIXEL_STEP`), labels and student rate. `soft`: labels are learned
    logits; else fixed. `assigned`: TESLA's labels, what the expert at the target makes of the images. `balanced`, `waypoints` and
    `perturbed` are AST's. Segments that leave more than `limit` undone do not count. `ema` averages the images.
    """

    steps: int
    span: int
    window: Window
    iterations: int
    segments: int
    batch: int
    rates: tuple[float | None, float, float]
    engine: EngineName = "adjoint"
    soft: bool = False
    assigned: bool = False
    momentum: float = 0.0
    limit: float = float("inf")
    augment: str = ""
    balanced: bool = False
    waypoints: bool = False
    perturbed: float = 0.0
    ema: float = 0.0


class Drawn(NamedTuple):
    """Which stretches of which experts an iteration matches: k experts and their start epochs."""

    experts: list[int]
    starts: list[int]


@dataclass(eq=False)
class State:
    """What the loop knows between two iterations; all of it is written down."""

    synthetic: Synthetic
    velocity: Synthetic
    average: Tensor
    assigned: Tensor
    losses: Tensor
    rates: Tensor
    image_rate: float
    iteration: int = 0
    restarts: int = 0
    bounded: int = 0
    slowed: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """The learned set; `labels` are probabilities, (n, classes). `loss` and `rates` are those of every iteration."""

    images: Tensor
    labels: Tensor
    rate: float
    loss: list[float]
    rates: list[float]


class Batches:
    """The `Feed` of an iteration: each of k students has its own order of the synthetic rows; the pictures are augmented as drawn."""

    def __init__(self, plan: Plan, k: int, n: int, device: torch.device, rng: torch.Generator, fixed: Tensor | None) -> None:
        self.steps, self._k, self._soft, self._fixed = plan.steps, k, plan.soft, fixed
        size = min(plan.batch or n, n)
        orders = [_picks(n, size, plan.steps, rng) for _ in range(k)] if size < n else []
        self._picks = torch.stack(orders, 1).to(device) if orders else None  # (steps, k, b)
        dsa = DSA(plan.augment)
        self._draws: list[Draw] = [dsa.draw(k * size, rng, device=device) for _ in range(plan.steps)] if dsa.operations else []

    def batch(self, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        known = torch.softmax(labels, 1) if self._soft else labels.detach()
        x, y = images, known if self._fixed is None else self._fixed
        if self._picks is not None:
            picks = self._picks[step]
            x = x[picks]
            y = y[picks] if y.dim() == 2 else y.gather(1, picks[:, :, None].expand(-1, -1, y.shape[2]))
        elif self._draws or self._fixed is not None:
            x = x.expand(self._k, *x.shape)
            y = y.expand(self._k, *y.shape[-2:])
        if self._draws:
            x = self._draws[step](x.flatten(0, 1)).view(x.shape)
        return x, y


def match(
    network: Network,
    experts: Experts,
    plan: Plan,
    start: Synthetic,
    folder: Path,
    progress: Progress,
    rng: KeyedRandom,
    keep: Sequence[int] = (),
) -> Outcome:
    """Runs all iterations from `start` (labels: logits if `plan.soft`, else probabilities), or what is left of them.

    How it stood after the iterations in `keep` is kept for `outcome_after`.

    An iteration costs 2 k steps forward and backward and k steps of double backward; memory: see `unroll`. InputError after
    `MOST_RESTARTS` losses that are not a number.
    """
    file = folder / "matching.safetensors"
    device = start.images.device
    state = load(file, device) if file.is_file() else _first_state(network, experts, plan, start, rng)
    with progress.task("matching", plan.iterations, unit="iterations") as task:
        task.advance(state.iteration)
        if not file.is_file():
            save(state, file)
        while state.iteration < plan.iterations:
            if not _iterate(state, network, experts, plan, progress, rng):
                state = _restored(load(file, device), state, progress)
                continue
            task.advance()
            if state.iteration in keep:
                save(state, _kept(folder, state.iteration))
            if state.iteration % SAVE_EVERY == 0 or state.iteration == plan.iterations:
                save(state, file)
    if torch.equal(state.synthetic.images, start.images):
        progress.note(_stood_still(state, plan))
    return _outcome(state, plan)


def outcome_after(iteration: int, plan: Plan, folder: Path, device: torch.device) -> Outcome:
    """The set as it stood after an iteration that `match` was told to keep."""
    return _outcome(load(_kept(folder, iteration), device), plan)


def _kept(folder: Path, iteration: int) -> Path:
    return folder / f"matching-{iteration:06d}.safetensors"


def draw(plan: Plan, count: int, iteration: int, rng: KeyedRandom, attempt: int = 0) -> Drawn:
    """The segments of an iteration: experts in one shuffled order of all after another, starts uniform within the window as it then is."""
    generator = torch.Generator().manual_seed(rng.child("segments", iteration, attempt).torch_seed())
    places = range(iteration * plan.segments, (iteration + 1) * plan.segments)
    starts = torch.randint(plan.window.first, plan.window.end_at(iteration), (plan.segments,), generator=generator)
    return Drawn([_shuffled(count, place // count, rng)[place % count] for place in places], starts.tolist())


def perturbed(theta: Tensor, network: Network, strength: float, rng: torch.Generator) -> Tensor:
    """AST: every convolution's weights W, W + strength * (d / ||d||_F) * W with d standard normal; (k, size)."""
    rows = []
    for row in theta.unbind(0):
        parts = []
        for piece in network.parts(row).values():
            noise = torch.randn(piece.shape, generator=rng).to(piece.device) if piece.dim() == 4 else torch.zeros_like(piece)
            length = torch.linalg.vector_norm(noise).clamp_min(torch.finfo(noise.dtype).tiny)
            parts.append((piece + strength * noise / length * piece).reshape(-1))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def balance(starts: list[int], window: Window) -> list[float]:
    """AST's factor of a student's training loss: log5(t - h + 8) from half the window on, 1 / log5(h - t + 8) before.

    >>> [round(f, 3) for f in balance([0, 10, 19], Window(0, 20, 20))]
    [0.557, 1.292, 1.76]
    """
    half = window.last_end // 2
    return [math.log(t - half + 8, 5) if t >= half else 1 / math.log(half - t + 8, 5) for t in starts]


def _iterate(state: State, network: Network, experts: Experts, plan: Plan, progress: Progress, rng: KeyedRandom) -> bool:
    """One iteration, in place; False, and nothing changed, where a loss or gradient is not a number."""
    found, fixed = _gradient(state, network, experts, plan, rng)
    if not all(bool(torch.isfinite(part).all()) for part in (found.loss, *found.gradient)):
        return False
    if bool((found.loss <= plan.limit).any()):
        _step(state, found.gradient, plan, progress)
    if plan.ema:
        state.average = plan.ema * state.average + (1 - plan.ema) * state.synthetic.images
    if fixed is not None and state.iteration >= plan.iterations - AVERAGED:
        state.assigned = state.assigned + fixed.mean(0) / min(AVERAGED, plan.iterations)
    state.losses[state.iteration] = found.loss.mean()
    state.rates[state.iteration] = state.synthetic.rate
    state.iteration += 1
    return True


def _gradient(state: State, network: Network, experts: Experts, plan: Plan, rng: KeyedRandom) -> tuple[Matched, Tensor | None]:
    """What this iteration's segments make of the synthetic set, and the labels that were assigned to it, (k, n, classes), if any."""
    synthetic = state.synthetic
    drawn = draw(plan, experts.count, state.iteration, rng, state.restarts)
    generator = torch.Generator().manual_seed(rng.child("feed", state.iteration, state.restarts).torch_seed())
    segments = _segments(drawn, network, experts, plan, generator)
    fixed = None
    if plan.assigned:
        with torch.no_grad():
            fixed = torch.softmax(network.apply_many(segments.waypoints[-1].theta, synthetic.images), -1)
    feed = Batches(plan, len(drawn.starts), len(synthetic.images), synthetic.images.device, generator, fixed)
    student = Student(losses_of(network), feed, plan.momentum, network.derivatives)
    return ENGINES[plan.engine](student, segments, synthetic, plan.limit), fixed


def losses_of(network: Network) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Cross-entropy of k networks (k, size) against label probabilities, the mean over each one's batch, (k,)."""

    def losses(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return -(y * torch.log_softmax(network.apply_many(theta, x), -1)).sum(-1).mean(-1)

    return losses


def _segments(drawn: Drawn, network: Network, experts: Experts, plan: Plan, rng: torch.Generator) -> Segments:
    start = experts.read(drawn.experts, drawn.starts)
    if plan.perturbed:
        start = perturbed(start, network, plan.perturbed, rng)
    halts = range(1, plan.span) if plan.waypoints else ()
    points = [(plan.steps // plan.span * j, j) for j in halts] + [(plan.steps, plan.span)]
    waypoints = [Waypoint(step, experts.read(drawn.experts, [t + j for t in drawn.starts])) for step, j in points if step]
    scale = torch.tensor(balance(drawn.starts, plan.window), device=start.device) if plan.balanced else None
    return Segments(start, waypoints, scale)


def _step(state: State, gradient: Synthetic, plan: Plan, progress: Progress) -> None:
    """SGD with momentum on all three; the student's rate stays positive and at most halves or doubles."""
    slower = 0.5**state.restarts
    rates = (state.image_rate * slower, plan.rates[1] * slower, plan.rates[2] * slower * 0.5**state.slowed)
    state.velocity = Synthetic(*(momentum * v + g for momentum, v, g in zip(MOMENTA, state.velocity, gradient, strict=True)))
    moved = Synthetic(*(x - rate * v for x, rate, v in zip(state.synthetic, rates, state.velocity, strict=True)))
    before = float(state.synthetic.rate)
    bounded = moved.rate.clamp(max(SLOWEST, before / 2), min(FASTEST, before * 2))
    state.bounded = state.bounded + 1 if bool(bounded != moved.rate) else 0
    if state.bounded == TOO_OFTEN:
        state.bounded, state.slowed = 0, state.slowed + 1
        state.velocity = state.velocity._replace(rate=torch.zeros_like(state.velocity.rate))
        progress.note(
            f"The student's rate ({before:.3g}) hit its bound in {TOO_OFTEN} iterations in a row; "
            f"its own learning rate, rate_rate, is halved to {rates[2] / 2:.3g}."
        )
    state.synthetic = moved._replace(rate=bounded)


def _first_state(network: Network, experts: Experts, plan: Plan, start: Synthetic, rng: KeyedRandom) -> State:
    zero = Synthetic(*map(torch.zeros_like, start))
    curve = torch.full((plan.iterations,), torch.nan)
    state = State(start, zero, start.images.clone(), torch.zeros_like(start.labels), curve, curve.clone(), plan.rates[0] or 0.0)
    if plan.rates[0] is None:
        probes = [_gradient(state, network, experts, plan, rng.child("probe", i))[0].gradient.images for i in range(4)]
        finite = [value for value in (float(probe.abs().max()) for probe in probes) if math.isfinite(value) and value > 0]
        state.image_rate = PIXEL_STEP * len(finite) / sum(finite) if finite else 1.0
    return state


def _stood_still(state: State, plan: Plan) -> str:
    return (
        f"The images are still those that matching began with: in all {plan.iterations} iterations every segment left more than "
        f"{plan.limit:g} of its way undone ({float(state.losses.min()):.3g} at best), and such do not count. "
        "Students overshoot: use a smaller rate, or a longer span."
    )


def _restored(back: State, state: State, progress: Progress) -> State:
    """The last state that was written down, with every rate halved once more, the student's included."""
    if state.restarts >= MOST_RESTARTS:
        raise InputError(
            f"The matching loss was not a number {MOST_RESTARTS + 1} times, last in iteration {state.iteration + 1}, although all rates "
            "were halved each time. Lower image_rate, rate_rate or rate, or train experts with a lower expert_rate."
        )
    halvings = state.restarts + 1 - back.restarts
    back.restarts += halvings
    back.synthetic = back.synthetic._replace(rate=back.synthetic.rate * 0.5**halvings)
    back.velocity = Synthetic(*map(torch.zeros_like, back.velocity))
    progress.note(
        f"The matching loss of iteration {state.iteration + 1} is not a number: back to the state after iteration {back.iteration}, "
        f"with the student's rate and all learning rates halved ({back.restarts} of at most {MOST_RESTARTS} times)."
    )
    return back


def _outcome(state: State, plan: Plan) -> Outcome:
    labels = torch.softmax(state.synthetic.labels, 1) if plan.soft else state.synthetic.labels
    images = state.average if plan.ema else state.synthetic.images
    if plan.assigned:
        labels = state.assigned / state.assigned.sum(1, keepdim=True)
    return Outcome(images, labels, float(state.synthetic.rate), state.losses.tolist(), state.rates.tolist())


def save(state: State, file: Path) -> None:
    """The whole state as one safetensors file, written whole or not at all."""
    counts = torch.tensor([state.iteration, state.restarts, state.bounded, state.slowed])
    tensors: Mapping[str, Tensor] = {
        **{name: value for name, value in state.synthetic._asdict().items()},
        **{f"velocity.{name}": value for name, value in state.velocity._asdict().items()},
        "average": state.average,
        "assigned": state.assigned,
        "losses": state.losses,
        "rates": state.rates,
        "image_rate": torch.tensor(state.image_rate, dtype=torch.float64),
        "counts": counts,
    }
    write_whole(file, lambda path: save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, str(path)))


def load(file: Path, device: torch.device | str = "cpu") -> State:
    """What `save` wrote."""
    # Copies: a tensor in a file starts anywhere, and matrix products round by how their operands are aligned.
    t = {name: value.clone() for name, value in load_file(str(file)).items()}
    synthetic = Synthetic(*(t[name].to(device) for name in Synthetic._fields))
    velocity = Synthetic(*(t[f"velocity.{name}"].to(device) for name in Synthetic._fields))
    average, assigned = t["average"].to(device), t["assigned"].to(device)
    return State(synthetic, velocity, average, assigned, t["losses"], t["rates"], float(t["image_rate"]), *t["counts"].tolist())


def _picks(n: int, size: int, steps: int, rng: torch.Generator) -> Tensor:
    """`steps` batches out of one random order of the rows after another, (steps, size); a batch may span two, so that all are full."""
    orders = torch.cat([torch.randperm(n, generator=rng) for _ in range(-(-steps * size // n))])
    return orders[: steps * size].view(steps, size)


def _shuffled(count: int, cycle: int, rng: KeyedRandom) -> list[int]:
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(rng.child("experts", cycle).torch_seed())).tolist()
    return order

"""What the trajectory-matching methods have in common: their options, presets, experts, the time they take, and what they hand over."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor

from curate.distill.augment import DSA, strategy_for
from curate.distill.evaluation import TrainingSet, train
from curate.distill.experts import Experts, Recipe, direction, obtain
from curate.distill.images import held_back
from curate.distill.matching import Batches, EngineName, Outcome, Plan, Window, losses_of, match, outcome_after
from curate.distill.networks import Network, build
from curate.distill.presets import preset
from curate.distill.unroll import ENGINES, Segments, Student, Synthetic, Waypoint
from curate.errors import DoesNotFitError, OptionError
from curate.protocols import Distilled, RealImages, Training
from curate.rng import KeyedRandom

EXPERTS_SHARE: Final = 0.4  # of a time limit, at most; the rest is for matching
HELD_SHARE: Final = 0.1
JUDGES: Final = 2  # networks that say how good a point on the way is
GRAPH_BYTES: Final = 1 << 30
FEWEST: Final = {"experts": 3, "iterations": 20, "batches": 5}  # batches: of an expert's epoch
TRIES: Final = 4  # of a step whose time is taken, the first to warm up
TRIED_ENOUGH: Final = 1.0  # seconds


@dataclass(frozen=True, kw_only=True)
class AbstractTrajectories(ABC):
    """The options of every trajectory-matching method. None follows from the images' size, their number of classes and `ipc` (`presets`).

    `experts` networks are trained for `epochs` epochs (of `epoch_rows` images at most) at `expert_rate` in batches of `expert_batch`.
    Students start at an epoch within `window`: first+end is first … end-1; first+end+last+over lets the end grow to `last` within `over`
    iterations. They take `steps` steps at `rate`, which is learned, in batches of `batch` (0: all), to the expert `span` epochs later;
    unless told, `rate` starts no higher than makes their steps as long, in sum, as the expert's, which matters for a few hundred rows.
    `iterations` of `segments` such stretches side by side. `image_rate` and `rate_rate` are the learning rates of images and `rate`.
    `engine`: adjoint, unrolled (the same gradient a fifth sooner, with memory for every step) or truncated (TESLA's); unless told, unrolled
    where its graph takes less than `GRAPH_BYTES` (1 GB), else adjoint. `augment` is a DSA strategy, "none" for none.
    `whiten` is whether images are whitened by ZCA: colour ones unless told. `train_steps` is how long networks are then trained on the
    set, at the learned rate times `train_scale` and with momentum .9, which makes steps ten times as long as the students' were. The
    official protocol has 1; small grey images have .3, but for DATM with five a class or more: learned labels of a few images leave a
    slope everywhere, on which long steps never come to rest. With `checks` a tenth of the rows is held back from experts and images, and
    of so many points on the way, the end among them, that one is handed over whose networks do best on it; 0 takes the last.
    """

    experts: int | None = None
    epochs: int | None = None
    epoch_rows: int | None = None
    expert_rate: float | None = None
    expert_batch: int | None = None
    window: tuple[int, ...] | None = None
    steps: int | None = None
    span: int | None = None
    batch: int | None = None
    rate: float | None = None
    iterations: int | None = None
    segments: int | None = None
    image_rate: float | None = None
    rate_rate: float | None = None
    engine: EngineName | None = None
    network: str | None = None
    width: int | None = None
    augment: str | None = None
    whiten: bool | None = None
    train_steps: int | None = None
    train_scale: float | None = None
    checks: int = 0

    version: ClassVar[int] = 1
    name: ClassVar[str]

    def __post_init__(self) -> None:
        for option in (
            "experts",
            "epochs",
            "epoch_rows",
            "expert_batch",
            "steps",
            "span",
            "iterations",
            "segments",
            "width",
            "train_steps",
        ):
            _require(self.name, option, getattr(self, option), 1)
        for option in ("batch", "image_rate", "rate_rate", "checks"):
            _require(self.name, option, getattr(self, option), 0)
        for option in ("expert_rate", "rate", "train_scale"):
            value = getattr(self, option)
            if value is not None and not 0 < value < math.inf:
                raise OptionError(f"{self.name}: {option} must be above 0, got {value}.")
        if self.engine is not None and self.engine not in ENGINES:
            raise OptionError(f'{self.name}: engine must be one of {", ".join(ENGINES)}; got "{self.engine}".')
        if self.window is not None:
            object.__setattr__(self, "window", tuple(self.window))  # a manifest gives it back as a list
            self._check_window(self.window)

    def _check_window(self, window: tuple[int, ...]) -> None:
        good = len(window) in (2, 4) and 0 <= window[0] < window[1] and (len(window) == 2 or (window[1] <= window[2] and window[3] >= 1))
        if not good:
            given = "+".join(map(str, window))
            raise OptionError(f"{self.name}: window must be first+end or first+end+last+over with first < end <= last, got {given}.")

    @abstractmethod
    def recipe(self) -> Recipe:
        """How the experts of this (settled) method are trained."""

    @abstractmethod
    def plan(self) -> Plan:
        """What the loop of this (settled) method is told."""

    @abstractmethod
    def begin(self, data: RealImages, ipc: int, network: Network, experts: Experts, rng: KeyedRandom) -> tuple[Tensor, Tensor, Tensor]:
        """Images to start from, their classes (m,), and what their labels start from: logits if they are learned, else probabilities."""

    def settle(self, data: RealImages, ipc: int, minutes: float | None) -> Self:
        """Fills in every option that was left open; with `minutes`, fewer experts, iterations and at last rows an epoch."""
        shape, cpu = tuple(data.images.shape[1:]), data.device.type == "cpu"
        row = preset(self.name, shape, data.classes, ipc, cpu=cpu)
        filled = {f.name: getattr(row, f.name) for f in fields(self) if getattr(self, f.name) is None and hasattr(row, f.name)}
        strategy = strategy_for(self.augment, shape[0]) if self.augment is not None or min(shape[1:]) > 12 else ""
        settled = replace(self, **filled, augment=strategy or "none", engine=self.engine or "unrolled")
        if self.engine is None and settled._memory(data, ipc) > GRAPH_BYTES:
            settled = replace(settled, engine="adjoint")
        settled._check_span()
        settled = settled if minutes is None else settled._within(minutes, data, ipc)
        if self.rate is None:
            settled = replace(settled, rate=min(row.rate, settled._even_rate(len(data.images))))
        return settled

    def cost(self, data: RealImages, ipc: int) -> tuple[float, int]:
        """Seconds, by one step of each kind, and bytes at the peak: the experts' group or the students', with their activations."""
        expert, iteration = self._pace(data, ipc)
        settled = _settled(self)
        seconds = expert * settled["experts"] + iteration * settled["iterations"]
        return seconds, self._memory(data, ipc)

    def distill(self, data: RealImages, ipc: int, rng: KeyedRandom) -> Distilled:
        """Trains or takes over the experts, matches them, and hands over the set in the source's own pixels."""
        settled, network, plan = _settled(self), self._network(data), self.plan()
        images_held = labels_held = None
        if self.checks:
            data, images_held, labels_held = held_back(data, HELD_SHARE, rng.child("held back"))
        experts = obtain(data, network, self._architecture(data), self.recipe(), settled["experts"], settled["epochs"], rng)
        images, classes, labels = self.begin(data, ipc, network, experts, rng.child("begin"))
        start = Synthetic(images, labels, torch.tensor(float(settled["rate"]), device=data.device))
        keep = [round(plan.iterations * (i + 1) / self.checks) for i in range(self.checks)]
        try:
            found = match(network, experts, plan, start, data.folder, data.progress, rng.child("match"), keep)
        except torch.OutOfMemoryError as error:
            raise DoesNotFitError(self._too_large(data, ipc)) from error
        if images_held is not None and labels_held is not None:
            found = self._best(found, keep, data, images_held, labels_held, rng.seed)
        return self._handed_over(data, classes, found, soft=plan.soft or plan.assigned)

    def _best(self, last: Outcome, keep: Sequence[int], data: RealImages, images: Tensor, labels: Tensor, seed: int) -> Outcome:
        """What stood at that point of `keep` where fresh networks, trained on it, get most of the rows right that were held back."""
        plan = self.plan()
        training = self._training(last.rate)
        best, most = last, -1.0
        with data.progress.task("choose the best", len(keep) * training.steps * JUDGES, unit="steps") as task:
            for iteration in dict.fromkeys(keep):
                one = outcome_after(iteration, plan, data.folder, data.device)
                if not bool(torch.isfinite(one.labels).all()):  # TESLA's labels are there at the end alone
                    continue
                judges = train(
                    TrainingSet(one.images, one.labels), self._training(one.rate), training.network, [seed + i for i in range(JUDGES)], task
                )
                accuracy = sum(judges.accuracies(images, labels)) / JUDGES
                if accuracy > most:
                    best, most = one, accuracy
        return replace(best, loss=last.loss, rates=last.rates)

    def _training(self, rate: float) -> Training:
        settled = _settled(self)
        return Training(
            lr=rate * settled["train_scale"],
            steps=settled["train_steps"],
            augment=self._strategy(),
            network=settled["network"],
            width=settled["width"],
        )

    def _handed_over(self, data: RealImages, classes: Tensor, found: Outcome, *, soft: bool) -> Distilled:
        training = self._training(found.rate)
        pixels = data.transform.invert(found.images).cpu().numpy()
        soft_labels = found.labels.cpu().numpy() if soft else None
        return Distilled(pixels, classes.cpu().numpy(), training, soft_labels, found.rate, {"loss": found.loss, "rate": found.rates})

    def _common_plan(self, **more: Any) -> Plan:
        """The plan of the options that all methods share; `more` are a method's own."""
        s = _settled(self)
        first, end, *rest = s["window"]
        window = Window(first, end, *rest) if rest else Window(first, end, end)
        rates = (s["image_rate"], float(more.pop("label_rate", 0.0)), s["rate_rate"])
        return Plan(
            s["steps"], s["span"], window, s["iterations"], s["segments"], s["batch"], rates, s["engine"], augment=self._strategy(), **more
        )

    def _common_recipe(self, **more: Any) -> Recipe:
        s = _settled(self)
        return Recipe(s["expert_rate"], s["expert_batch"], s["epoch_rows"], augment=self._strategy(), **more)

    def _strategy(self) -> str:
        return "" if self.augment in (None, "none") else str(self.augment)

    def _network(self, data: RealImages) -> Network:
        s = _settled(self)
        return Network(lambda: build(s["network"], data.images.shape[1:], data.classes, s["width"]))

    def _architecture(self, data: RealImages) -> Mapping[str, Any]:
        s = _settled(self)
        return {"name": s["network"], "width": s["width"], "image": list(data.images.shape[1:]), "classes": data.classes}

    def _check_span(self) -> None:
        s = _settled(self)
        last = s["window"][2] if len(s["window"]) == 4 else s["window"][1]
        if last - 1 + s["span"] > s["epochs"]:
            raise OptionError(
                f"{self.name}: a segment that starts at epoch {last - 1} and spans {s['span']} ends at epoch {last - 1 + s['span']}, "
                f"but experts train for {s['epochs']}. Use a window that ends at {max(1, s['epochs'] - s['span'] + 1)} or earlier, "
                "or more epochs."
            )
        DSA(self._strategy())
        if s["steps"] < s["span"]:
            raise OptionError(f"{self.name}: steps must be at least span ({s['span']}), got {s['steps']}.")

    def _pace(self, data: RealImages, ipc: int) -> tuple[float, float]:
        """Seconds of one expert's whole training and of one outer iteration, from one step of each after one to warm up."""
        s, network, recipe, plan = _settled(self), self._network(data), self.recipe(), self.plan()
        rows = torch.arange(min(recipe.batch, len(data.images)), device=data.device)
        theta = network.initial(0).to(data.device)[None]
        x, y = data.images[rows][None], data.labels[rows][None]
        step = _seconds(lambda: direction(network, recipe, theta, x, y, x, 1.0), data.device)
        steps = math.ceil(min(recipe.epoch_rows or len(data.images), len(data.images)) / recipe.batch)
        expert = step * steps * s["epochs"]
        m = data.classes * ipc
        images = data.images[torch.arange(m, device=data.device) % len(data.images)]
        labels = torch.eye(data.classes, device=data.device)[torch.arange(m, device=data.device) % data.classes]
        start = theta.expand(plan.segments, -1).contiguous()
        short = replace(plan, steps=2)
        feed = Batches(short, plan.segments, m, data.device, torch.Generator().manual_seed(0), None)
        segments = Segments(start, [Waypoint(2, start + 0.01)])
        synthetic = Synthetic(images, labels, torch.tensor(0.01, device=data.device))
        student = Student(losses_of(network), feed, plan.momentum, network.derivatives)
        two = _seconds(lambda: ENGINES[s["engine"]](student, segments, synthetic, math.inf), data.device)
        return expert, two * plan.steps / 2

    def _within(self, minutes: float, data: RealImages, ipc: int) -> Self:
        """Fewer experts and iterations, so that both fit into the time, and where the fewest experts do not, epochs of fewer rows.

        Says on `data.progress` what was given up.
        """
        s, limit = _settled(self), minutes * 60
        expert, iteration = self._pace(data, ipc)
        experts = max(min(FEWEST["experts"], s["experts"]), min(s["experts"], int(EXPERTS_SHARE * limit / expert)))
        rows = all_rows = min(s["epoch_rows"] or len(data.images), len(data.images))
        if experts * expert > EXPERTS_SHARE * limit:
            affordable = int(rows * EXPERTS_SHARE * limit / (experts * expert))
            rows = min(rows, max(FEWEST["batches"] * s["expert_batch"], affordable))
            expert *= rows / all_rows
        left = limit - experts * expert
        iterations = max(min(FEWEST["iterations"], s["iterations"]), min(s["iterations"], int(left / iteration)))
        given_up = [f"{name} {s[name]} -> {now}" for name, now in (("experts", experts), ("iterations", iterations)) if now < s[name]]
        given_up += [f"epoch_rows {all_rows} -> {rows}"] if rows < all_rows else []
        if given_up:
            data.progress.note(f"To end within {minutes:g} minutes: {', '.join(given_up)}. More time makes a better set.")
        needed = experts * expert + iterations * iteration
        if needed > 1.2 * limit:
            data.progress.note(
                f"Even {experts} experts and {iterations} iterations take about {needed / 60:.1f} minutes. Fewer epochs, a smaller width "
                "or fewer steps would be faster."
            )
        return replace(self, experts=experts, iterations=iterations, epoch_rows=rows if rows < all_rows else self.epoch_rows)

    def _even_rate(self, n: int) -> float:
        """The rate at which a student's steps add up to what those of `span` epochs of an expert on n rows do."""
        s = _settled(self)
        length = min(s["epoch_rows"] or n, n)
        rate: float = s["expert_rate"] * math.ceil(length / s["expert_batch"]) * s["span"] / s["steps"]
        return rate

    def _memory(self, data: RealImages, ipc: int) -> int:
        s, plan, network = _settled(self), self.plan(), self._network(data)
        size = network.size
        m = data.classes * ipc
        pixels = data.images[0].numel()
        rows = plan.segments * min(plan.batch or m, m)
        # Some 60 numbers a channel and pixel of a ConvNet's first block, or a hidden unit of an MLP, are there while a step is worked on;
        # 8 stay of each where all steps are kept, 30 where the derivatives are not written out.
        units: int = 2 * s["width"] + pixels if s["network"] == "mlp" else pixels // data.images.shape[1] * s["width"]
        stay = (30 if network.derivatives is None else 8) * plan.steps if self.engine == "unrolled" else 0
        return int(4 * rows * units * (60 + stay) + 4 * size * plan.segments * (plan.steps + 6) + 4 * data.images.numel() + 16 * m * pixels)

    def _too_large(self, data: RealImages, ipc: int) -> str:
        s = _settled(self)
        advice = (
            "Use engine=adjoint, which keeps one step's activations, not all" if self.engine == "unrolled" else "Lower batch or segments"
        )
        return (
            f"Matching ran out of memory with {s['segments']} segments of {s['steps']} steps of {s['batch'] or data.classes * ipc} images "
            f"(engine {self.engine}). {advice}; then --ipc, or width."
        )


def random_real(data: RealImages, ipc: int, rng: KeyedRandom) -> Tensor:
    """`ipc` random rows of each class, class by class, (classes x ipc,)."""
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(rng.torch_seed())).to(data.device)
    return torch.cat([order[data.labels[order] == c][:ipc] for c in range(data.classes)])


def hard(data: RealImages, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Real images as a start, with their classes and these as probabilities."""
    classes = data.labels[rows]
    return data.images[rows].clone(), classes, torch.nn.functional.one_hot(classes, data.classes).to(data.images.dtype)


def _settled(method: AbstractTrajectories) -> dict[str, Any]:
    found = {f.name: getattr(method, f.name) for f in fields(method)}
    may_stay_open = {"image_rate", "whiten", "epoch_rows", "augment"}
    assert all(value is not None for name, value in found.items() if name not in may_stay_open), "settle comes before"
    return found


def _require(method: str, option: str, value: float | None, least: int) -> None:
    if value is not None and not least <= value < math.inf:
        raise OptionError(f"{method}: {option} must be {least} or more, got {value}.")


def _seconds(work: Any, device: torch.device) -> float:
    """The least of a few times, so that what else the machine does counts little; long work is done twice and no more."""
    each: list[float] = []
    while len(each) < TRIES and (len(each) < 2 or sum(each) < TRIED_ENOUGH):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        each.append(time.perf_counter() - start)
    return min(each[1:])

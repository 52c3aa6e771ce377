"""Trajectory matching against MTT's official code, side by side: CPU seconds a segment and an expert's epoch; the gradients' difference.

    git clone https://github.com/GeorgeCazenavette/mtt-distillation
    python benchmarks/official_mtt.py --official mtt-distillation --out benchmarks/results/official_mtt.txt

Six CPU minutes. With two segments at once, as the presets for small grey images have it, the MLP takes 2.4 to 3.1 times and ConvNets 1.7 to
2.3 times less than the official loop; with eight, the MLP up to 6.6 times. In ConvNets the arithmetic that both must do is the bound.

The peer is the official `distill.py`, unchanged and whole: `main` is called with its own options on one CPU thread, and two consecutive
log calls say how long an iteration took, with building the student, reading the expert, shuffling, DSA, the N steps, and the optimisers'
steps. What it imports and does not use while it matches (wandb, torchvision's data sets, kornia) is replaced by empty modules, and its
data set by random images; only what the repository has no name for, a width below 128 or an MLP for digits, is built from its own classes.
DATM's official loop is this one with learned labels. Ours is `match`, as `curate distill` calls it: the same experts' weights, images,
number of steps and augmentation; `unrolled` is what it takes by itself where that fits into 1 GB. Both read the experts from files. An
expert's epoch is `epoch` of the official utils, as buffer.py calls it, and `obtain` of ours for four. The gradient is compared after
one iteration in float64 (in float32 a number that rounds to the other side of 0 before a ReLU moves it by some 1e-3) without augmentation,
when both see all images in every step. Without `--official` only our own times are taken. The floor is the arithmetic of the convolutions
and linear layers, nine times that of a forward pass a step, at what a matrix product reaches on this core: the least for the official loop,
and for ours but where Winograd's way saves multiplications.
"""

import argparse
import contextlib
import importlib
import io
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.distill.experts import Experts, Recipe, obtain
from curate.distill.images import Images
from curate.distill.matching import Plan, Window, load, match
from curate.distill.networks import Network, build
from curate.distill.unroll import Synthetic
from curate.distill.zca import ZCA
from curate.progress import Silent
from curate.rng import KeyedRandom
from curate.store import Store

CLASSES, EXPERTS, EPOCHS, RATE, IMAGE_RATE = 10, 4, 4, 0.01, 0.1
EXPERT_BATCH = 100
FILES = 2  # that the official loop finds its experts in
OFFICIAL_DSA, GREY_DSA = "color_crop_cutout_flip_scale_rotate", "color_crop_cutout_scale_rotate"
UNITS = 9  # forward passes' worth of arithmetic in a step: 1 forward, 2 backward, 6 for the backward of both


@dataclass(frozen=True)
class Case:
    """A problem for both: what is matched, for how many steps, and how many iterations are timed."""

    about: str
    network: str
    width: int
    shape: tuple[int, int, int]
    ipc: int
    steps: int
    augment: str
    segments: int
    iterations: int


CASES = (
    Case("MLP 64-64-64-10, 8 x 8", "mlp", 64, (1, 8, 8), 1, 20, "", 8, 16),
    Case("MLP 64-64-64-10, 8 x 8", "mlp", 64, (1, 8, 8), 10, 20, "", 8, 16),
    Case("ConvNet of width 16, 28 x 28", "convnet", 16, (1, 28, 28), 1, 20, GREY_DSA, 8, 8),
    Case("ConvNet of width 16, 28 x 28", "convnet", 16, (1, 28, 28), 10, 5, GREY_DSA, 2, 2),
    Case("ConvNet of width 32, 28 x 28", "convnet", 32, (1, 28, 28), 1, 10, GREY_DSA, 8, 8),
    Case("ConvNet of width 128, 3 x 32 x 32", "convnet", 128, (3, 32, 32), 1, 5, OFFICIAL_DSA, 2, 2),
    Case("ConvNet of width 128, 3 x 32 x 32", "convnet", 128, (3, 32, 32), 10, 2, OFFICIAL_DSA, 1, 1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, default=None, help="a checkout of GeorgeCazenavette/mtt-distillation")
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="which of the cases, from 0")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.official and not (arguments.official / "distill.py").is_file():
        parser.error(f"{arguments.official} holds no distill.py; a checkout of mtt-distillation is expected, see --help")
    torch.set_num_threads(1)
    lines = [f"torch {torch.__version__}, one thread of a shared CPU; CPU seconds a segment, end to end", ""]
    if arguments.official is None:
        lines[1:] = ["The official code is left out: --official names a checkout of it.", ""]
    print("\n".join(lines), flush=True)
    for number in arguments.cases:
        block = measured(CASES[number], arguments.official and arguments.official.resolve())
        print("\n".join(block), flush=True)
        lines += block
        if arguments.out:
            arguments.out.write_text("\n".join(lines) + "\n")


def measured(case: Case, official: Path | None) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        problem = Problem(case, Path(folder))
        lines = [f"{case.about}, {CLASSES * case.ipc} images, {case.steps} steps{', DSA' if case.augment else ''}"]
        peer = Official(official, problem) if official else None
        theirs = peer.seconds() if peer else 0.0
        if peer:
            lines.append(f"  official            {theirs:8.4f} s")
        ways = [("unrolled", k) for k in sorted({1, 2, case.segments})] + [("adjoint", case.segments)]
        for engine, segments in ways:
            seconds = problem.seconds(engine, segments)
            lines.append(f"  {engine:<9} {segments:>2} at once {seconds:8.4f} s" + (f"  {theirs / seconds:5.2f} x" if peer else ""))
        lines.append(f"  floor               {problem.floor():8.4f} s")
        epoch = problem.epoch_seconds()
        if peer is None:
            return [*lines, f"  an expert's epoch   {epoch:8.4f} s", ""]
        of_theirs = peer.epoch_seconds()
        lines.append(f"  an expert's epoch: official {of_theirs:.4f} s, ours {epoch:.4f} s  {of_theirs / epoch:5.2f} x")
        lines.append(f"  the official gradient and ours differ by {apart(peer, problem):.1e}")
        return [*lines, ""]


class Problem:
    """Random images, experts trained on them a little, and our loop over both."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        draw = torch.Generator().manual_seed(0)
        labels = torch.arange(40 * CLASSES) % CLASSES
        pixels = (torch.rand(len(labels), *case.shape, generator=draw) * 60 + 18 * labels[:, None, None, None]).to(torch.uint8)
        self.network = Network(lambda: build(case.network, case.shape, CLASSES, case.width))
        x = (pixels.float() - 110) / 60
        self.data = Images(
            x, labels, np.arange(len(x)), CLASSES, ZCA.fit(pixels[:2]), torch.device("cpu"), folder, None, "random", Silent(), pixels
        )
        self.experts = obtain(self.data, self.network, {}, Recipe(RATE, EXPERT_BATCH), EXPERTS, EPOCHS, KeyedRandom(0))
        self.rows = torch.cat([torch.nonzero(labels == c).flatten()[: case.ipc] for c in range(CLASSES)])

    def _first(self) -> Experts:
        store = Store.open(self.folder / "experts")
        return Doubled(store, 1, EPOCHS, int(store.settled["group"]), self.data.device)

    def start(self, images: Tensor | None = None) -> Synthetic:
        labels = functional.one_hot(self.data.labels[self.rows], CLASSES).float()
        return Synthetic(self.data.images[self.rows] if images is None else images, labels, torch.tensor(RATE))

    def plan(self, engine: Any, segments: int, iterations: int) -> Plan:
        case = self.case
        rates = (IMAGE_RATE, 0.0, 1e-5)
        return Plan(case.steps, 2, Window(0, 2, 2), iterations, segments, 0, rates, engine, augment=case.augment)

    def seconds(self, engine: str, segments: int) -> float:
        """Of a segment, the best of two runs."""
        plan = self.plan(engine, segments, max(1, self.case.iterations // segments))
        return min(self._once(plan, turn) for turn in range(2)) / plan.iterations / segments

    def _once(self, plan: Plan, turn: int) -> float:
        home = self.folder / f"{plan.engine}-{plan.segments}-{turn}"
        home.mkdir()
        started = time.process_time()
        match(self.network, self.experts, plan, self.start(), home, Silent(), KeyedRandom(turn))
        return time.process_time() - started

    def epoch_seconds(self) -> float:
        """Of an expert, the best of two runs of all experts through two epochs, files and all."""
        recipe, found = Recipe(RATE, EXPERT_BATCH, augment=self.case.augment), []
        for turn in range(2):
            home = replace(self.data, folder=self.folder / f"experts-{turn}")
            started = time.process_time()
            obtain(home, self.network, {}, recipe, EXPERTS, 2, KeyedRandom(turn))
            found.append((time.process_time() - started) / 2 / EXPERTS)
        return min(found)

    def gradient(self, images: Tensor) -> Tensor:
        """By the images, of the segment of expert 0 from epoch 0."""
        home = self.folder / "once"
        home.mkdir()
        one = replace(self.plan("adjoint", 1, 1), augment="", window=Window(0, 1, 1))
        start = Synthetic(*(part.double() for part in self.start(images)))
        match(self.network, self._first(), one, start, home, Silent(), KeyedRandom(0))
        return load(home / "matching.safetensors").velocity.images

    def floor(self) -> float:
        """Seconds of a segment's arithmetic."""
        module, work = build(self.case.network, self.case.shape, CLASSES, self.case.width), list[int]()
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(lambda layer, _, out: work.append(2 * out.numel() * layer.weight[0].numel()))
        module(torch.zeros(1, *self.case.shape))
        return sum(work) * CLASSES * self.case.ipc * self.case.steps * UNITS / speed_of_products()


def speed_of_products() -> float:
    """Operations a second of a matrix product that fits the cache."""
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    best = 0.0
    for _ in range(6):
        started = time.process_time()
        for _ in range(4):
            a @ b
        best = max(best, 4 * 2 * 512**3 / (time.process_time() - started))
    return best


def apart(peer: "Official", problem: Problem) -> float:
    torch.set_default_dtype(torch.float64)
    torch.float = torch.float64  # by which name the official code asks for its images
    try:
        images, theirs = peer.gradient()
        return float((problem.gradient(images) - theirs).norm() / theirs.norm())
    finally:
        torch.float = torch.float32
        torch.set_default_dtype(torch.float32)


class Doubled(Experts):
    """The same weights in float64."""

    def read(self, experts: Sequence[int], epochs: Sequence[int]) -> Tensor:
        return super().read(experts, epochs).double()


class Official:
    """The official `distill.py`, on the experts and images of a problem."""

    def __init__(self, path: Path, problem: Problem) -> None:
        self._problem, self._case, self._log = problem, problem.case, Log()
        sys.path[:0] = [str(path)] if str(path) not in sys.path else []
        sys.modules.update(stand_ins(self._log))
        self._distill = importlib.import_module("distill")
        self._networks = importlib.import_module("networks")
        self._distill.wandb = self._log  # of this problem, where the module was there already
        self._distill.get_dataset = self._data
        own = (problem.case.network, problem.case.width) == ("convnet", 128)
        self._distill.get_network = importlib.import_module("utils").get_network if own else self._network

    def seconds(self) -> float:
        """Of an iteration, which is a segment, without the first."""
        self._main(self._buffers(range(EXPERTS)), iterations=self._case.iterations, start=2, augmented=bool(self._case.augment))
        times = self._log.times
        return (times[-1] - times[0]) / (len(times) - 1)

    def epoch_seconds(self) -> float:
        """Of an expert, as `buffer.py` trains it; the best of three."""
        utils, case, data = importlib.import_module("utils"), self._case, self._problem.data
        loader = torch.utils.data.DataLoader(utils.TensorDataset(data.images, data.labels), batch_size=EXPERT_BATCH, shuffle=True)
        net = self._distill.get_network("ConvNet", case.shape[0], CLASSES, case.shape[1:])
        how = SimpleNamespace(device="cpu", dataset="CIFAR10", dsa=True, dsa_strategy=case.augment, dsa_param=utils.ParamDiffAug())
        optimiser, found = torch.optim.SGD(net.parameters(), lr=RATE), []
        for _ in range(3):
            started = time.process_time()
            utils.epoch("train", loader, net, optimiser, nn.CrossEntropyLoss(), how, aug=bool(case.augment))
            found.append(time.process_time() - started)
        return min(found)

    def gradient(self) -> tuple[Tensor, Tensor]:
        """The images that it began with, and what it found for the segment of expert 0 from epoch 0."""
        self._main(self._buffers([0]), iterations=0, start=1, augmented=False)
        assert self._log.images is not None and self._log.gradient is not None, "it logs before and after the iteration"
        return self._log.images, self._log.gradient

    def _main(self, buffers: Path, *, iterations: int, start: int, augmented: bool) -> None:
        case, torch_cuda, here = self._case, torch.Tensor.cuda, Path.cwd()
        options = {
            **dict(dataset="CIFAR10", subset="", model="ConvNet", res=32, ipc=case.ipc, eval_mode="S", num_eval=0, eval_it=10**9),
            **dict(epoch_eval_train=1, Iteration=iterations, lr_img=IMAGE_RATE, lr_lr=1e-5, lr_teacher=RATE, lr_init=RATE),
            **dict(batch_real=256, batch_syn=None, batch_train=256, pix_init="real", dsa="True", dsa_strategy=case.augment),
            **dict(data_path="", buffer_path=str(buffers), expert_epochs=2, syn_steps=case.steps, max_start_epoch=start, zca=False),
            **dict(load_all=False, no_aug=not augmented, texture=False, canvas_size=1, canvas_samples=1),
            **dict(max_files=None, max_experts=None, force_save=False),
        }
        random.seed(0)
        np.random.seed(0)
        self._log.clear()
        torch.Tensor.cuda = lambda tensor: tensor  # it saves the first images as if there were a GPU
        os.chdir(self._problem.folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), _quiet():
                self._distill.main(SimpleNamespace(**options))
        finally:
            os.chdir(here)
            torch.Tensor.cuda = torch_cuda

    def _buffers(self, experts: Any) -> Path:
        """The experts in the official form: lists of lists of parameters, several experts a file."""
        problem, folder = self._problem, self._problem.folder / f"buffers-{len(experts)}"
        home = folder / "CIFAR10_NO_ZCA" / "ConvNet"
        home.mkdir(parents=True)
        ways = [
            [
                [p.to(torch.get_default_dtype(), copy=True) for p in problem.network.parts(problem.experts.read([e], [t])[0]).values()]
                for t in range(EPOCHS + 1)
            ]
            for e in experts
        ]
        files = min(FILES, len(ways))
        for number in range(files):
            torch.save(ways[number::files], home / f"replay_buffer_{number}.pt")
        return folder

    def _data(self, *_: Any, **__: Any) -> tuple[Any, ...]:
        data, shape = self._problem.data, self._case.shape
        rows = list(zip(data.images.to(torch.get_default_dtype()), data.labels.tolist(), strict=True))
        same = {c: c for c in range(CLASSES)}
        return shape[0], shape[1:], CLASSES, None, None, None, rows, rows, None, None, same, same

    def _network(self, *_: Any, **__: Any) -> nn.Module:
        case = self._case
        if case.network == "convnet":
            net = self._networks.ConvNet(case.shape[0], CLASSES, case.width, 3, "relu", "instancenorm", "avgpooling", case.shape[1:])
            net.features.append(nn.Flatten())  # its own `view` fails on grey images, which DSA leaves with channels last
        else:
            net = self._networks.MLP(1, CLASSES)
            pixels = case.shape[1] * case.shape[2]
            net.fc_1, net.fc_2, net.fc_3 = (nn.Linear(*sides) for sides in ((pixels, 64), (64, 64), (64, CLASSES)))
        return net


class Log(ModuleType):
    """Stands in for wandb, which the loop calls before and after each iteration: notes the time, and looks at the caller's images."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.run = SimpleNamespace(name="run")
        self.Histogram = self.Image = self.finish = lambda *_, **__: None
        self.clear()

    def clear(self) -> None:
        self.times: list[float] = []
        self.images: Tensor | None = None
        self.gradient: Tensor | None = None

    def init(self, *, config: Any, **_: Any) -> None:
        self.config = SimpleNamespace(_items=dict(vars(config)))

    def log(self, what: dict[str, Any], **_: Any) -> None:
        images = sys._getframe(1).f_locals["image_syn"]
        if "Progress" in what:
            self.images = images.detach().clone()
        if "Grand_Loss" in what:
            self.times.append(time.process_time())
            self.gradient = images.grad.clone()


def stand_ins(log: Log) -> dict[str, ModuleType]:
    """Empty modules for what the official code imports and does not need here."""
    made: dict[str, ModuleType] = {"wandb": log}
    for name in ("torchvision", "torchvision.utils", "torchvision.datasets", "torchvision.transforms", "kornia"):
        made[name] = ModuleType(name)
    for name in ("utils", "datasets", "transforms"):
        setattr(made["torchvision"], name, made[f"torchvision.{name}"])
    made["torchvision.utils"].make_grid = lambda tensor, **_: tensor  # type: ignore[attr-defined]
    interpolation = ModuleType("scipy.ndimage.interpolation")  # a name that scipy has dropped
    interpolation.rotate = None  # type: ignore[attr-defined]
    return {**made, "scipy.ndimage.interpolation": interpolation}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    main()

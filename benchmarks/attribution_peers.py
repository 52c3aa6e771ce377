"""Attribution beside traker and captum on the same input, one process and one thread: how far the numbers are apart, and what they cost.

    pip install --no-deps traker==0.3.2 captum==0.9.0
    OMP_NUM_THREADS=1 python benchmarks/attribution_peers.py > benchmarks/results/attribution_peers.txt

The tier of attribution.py: 1,000 rows and 200 targets of digits, a logistic regression at its optimum and five checkpoints of gradient
descent. traker gets our signs as its projector and our ridge as its `lambda_reg`. Known differences are reckoned in: traker divides
features by √parameters and the inverse by its own mean size (one factor a checkpoint, so ranks differ only where there are several);
captum's TracInCPFast leaves the last layer's bias out; its NaiveInfluenceFunction is of the target's loss, ours of its log-odds (a factor
of 1 - p a target), with the Hessian a sum over rows. CPU seconds (`time.process_time`), on a shared machine.

Result: TRAK and TracIn are the peers' to float32's rounding (1e-6 of the largest value), exact influence to 1e-4 (captum decomposes a
Hessian in float32). At
650 parameters all cost about the same, a tenth of a second (the Hessian 1.3 s).
"""

import tempfile
import time
import warnings
from collections.abc import Callable

import captum.influence
import numpy as np
import torch
from attribution import CLASSES, DECAY, RATE, digits, exact, fit_probes, softmax, swept, weights_of, with_bias
from attribution import descent as descended
from captum.influence._core.influence_function import NaiveInfluenceFunction
from torch import nn
from torch.utils.data import TensorDataset
from trak import TRAKer
from trak.projectors import AbstractProjector
from trak.utils import vectorize

from curate.rng import KeyedRandom
from curate.scorers.gradients.tracin_target import TracInTarget
from curate.scorers.gradients.trak import Trak
from curate.signals.projection import signs

N, TARGETS, WIDTH = 1000, 200, 512


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    x, y, tx, ty = digits(N, TARGETS)
    optimum = fit_probes(x, y, np.ones((1, N), bool), CLASSES, DECAY)[0]
    final, path = {1: weights_of(optimum)}, descended(x, y)
    rows, target = (torch.from_numpy(x), torch.from_numpy(y)), (torch.from_numpy(tx), torch.from_numpy(ty))
    p = softmax(with_bias(tx) @ optimum)[np.arange(TARGETS), ty]
    print(f"digits, {N:,} rows, {TARGETS} targets, logistic regression\n\n{'':<44}{'difference':>11}{'ours s':>9}{'theirs s':>10}")

    trak = Trak(width=WIDTH, projection="rademacher", epochs=(1,), pairs=True)
    show(
        "TRAK, 512: traker, to one factor",
        lambda: swept(trak, x, y, tx, ty, final),
        lambda: by_traker(trak, rows, target, final[1]),
        lambda ours, theirs: (ours, theirs * (ours * theirs).sum() / np.square(theirs).sum()),
    )
    bias = sum(RATE * error(path[step], x, y) @ error(path[step], tx, ty).T for step in path)
    show(
        "TracIn: captum TracInCPFast, less the bias",
        lambda: swept(TracInTarget(epochs=tuple(path), pairs=True), x, y, tx, ty, path),
        lambda: by_captum("TracInCPFast", rows, path).influence(target).numpy().T,
        lambda ours, theirs: (ours - bias, theirs),
    )
    show(
        "TracIn: captum TracInCP, all layers",
        lambda: swept(TracInTarget(epochs=tuple(path), pairs=True), x, y, tx, ty, path),
        lambda: by_captum("TracInCP", rows, path, sample_wise_grads_per_batch=True).influence(target).numpy().T,
        lambda ours, theirs: (ours, theirs),
    )
    show(
        "exact influence: captum NaiveInfluence",
        lambda: exact(x, y, tx, ty, optimum),
        lambda: by_captum("NaiveInfluenceFunction", rows, final).influence(target).numpy().T,
        lambda ours, theirs: (ours * (1 - p) / N, theirs),
    )


def show(title: str, ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray], alike: Callable) -> None:
    """The largest difference of what should be alike, as a share of the largest value, and the CPU seconds of both."""
    seconds, found = [], []
    for way in (ours, theirs):
        started = time.process_time()
        found.append(np.asarray(way(), np.float64))
        seconds.append(time.process_time() - started)
    a, b = alike(*found)
    print(f"{title:<44}{np.abs(a - b).max() / np.abs(b).max():>11.1e}{seconds[0]:>9.2f}{seconds[1]:>10.2f}", flush=True)


def error(state: dict[str, torch.Tensor], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """p - onehot(y), (n, classes)."""
    return softmax(x @ state["weight"].numpy().T + state["bias"].numpy()) - np.eye(CLASSES)[y]


def by_traker(scorer: Trak, rows: tuple, target: tuple, state: dict[str, torch.Tensor]) -> np.ndarray:
    """(rows, targets)."""
    model = nn.Linear(rows[0].shape[1], CLASSES)
    parameters = sum(value.numel() for value in state.values())
    matrix = signs(KeyedRandom(0, "projection", 1), np.arange(parameters), WIDTH) / WIDTH**0.5

    class Ours(AbstractProjector):
        def __init__(self) -> None:
            super().__init__(parameters, WIDTH, 0, "rademacher", "cpu")

        def project(self, grads, model_id):
            return (vectorize(grads, device="cpu") if isinstance(grads, dict) else grads) @ matrix

    with tempfile.TemporaryDirectory() as folder:
        tracer = TRAKer(
            model, "image_classification", len(rows[1]), save_dir=folder, device="cpu", use_half_precision=False,
            projector=Ours(),
        )  # fmt: skip
        tracer.load_checkpoint(state, model_id=0)
        tracer.featurize(rows, num_samples=len(rows[1]))
        features = np.asarray(tracer.saver.current_store["grads"])
        tracer.score_computer.lambda_reg = scorer.ridge * float(np.square(features).sum()) / WIDTH
        tracer.finalize_features()
        tracer.start_scoring_checkpoint("here", state, model_id=0, num_targets=len(target[1]))
        tracer.score(target, num_samples=len(target[1]))
        return np.array(tracer.finalize_scores("here"))


def by_captum(name: str, rows: tuple, weights: dict, **options) -> object:
    """One of captum's explainers; its loader of checkpoints says the learning rate."""
    model = nn.Sequential(nn.Identity(), nn.Linear(rows[0].shape[1], CLASSES))

    def load(model: nn.Module, step: int) -> float:
        model[1].load_state_dict(weights[step])
        return RATE

    options |= {"model": model, "train_dataset": TensorDataset(*rows), "checkpoints_load_func": load, "batch_size": N}
    if name == "NaiveInfluenceFunction":
        return NaiveInfluenceFunction(
            **{k: v for k, v in options.items() if k != "checkpoints_load_func"}, checkpoint=1, checkpoints_load_func=load,
            loss_fn=nn.CrossEntropyLoss(reduction="none"), projection_dim=10_000, hessian_reg=N * DECAY, hessian_inverse_tol=0.0,
        )  # fmt: skip
    if name == "TracInCPFast":
        options["final_fc_layer"] = model[1]
    return getattr(captum.influence, name)(checkpoints=list(weights), loss_fn=nn.CrossEntropyLoss(reduction="sum"), **options)


if __name__ == "__main__":
    main()

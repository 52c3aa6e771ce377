"""The recorder's cost: examples a second at 100 classes, and its share of an epoch of the default ConvNet.

    python benchmarks/recorder.py --out benchmarks/results/recorder.txt

Beside it, where it is installed, the AUM authors' own package (pip install aum), which updates a Python dict row by row.
"""

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np
import torch

from curate.signals.models import ConvNet
from curate.signals.sums import RowSums

N, CLASSES = 50_000, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    out = parser.parse_args().out
    lines = [f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU; best of 5", ""]
    for batch in (128, 512, 2048):
        for kappa in (False, True):
            rate = examples_a_second(batch, kappa)
            lines.append(f"RowSums.add_logits, {CLASSES} classes, batch {batch:>4}, kappa {kappa!s:<5}: {rate:>11,.0f} examples/s")
    if importlib.util.find_spec("aum"):
        lines.append(f"aum.AUMCalculator (peer), {CLASSES} classes, batch  512: {peer_examples_a_second():>11,.0f} examples/s")
    torch.set_num_threads(1)  # CPU seconds of one thread: what other work on the machine cannot change
    turns = [(epoch_seconds(False), epoch_seconds(True)) for _ in range(3)]
    plain, recorded = np.min(turns, axis=0)
    epoch = "an epoch of 10,240 28x28 images, ConvNet, batch 128"
    lines += ["", f"{epoch}: {plain:.3f} CPU s plain, {recorded:.3f} recorded, {recorded / plain - 1:+.1%}"]
    text = "\n".join(lines) + "\n"
    print(text)
    if out:
        out.write_text(text)


def examples_a_second(batch: int, kappa: bool) -> float:
    sums = RowSums(N, CLASSES, device=torch.device("cpu"), with_kappa=kappa)
    logits, labels = torch.randn(batch, CLASSES), torch.randint(0, CLASSES, (batch,))
    orders = torch.randperm(N)[: N // batch * batch].split(batch)
    return best(lambda: [sums.add_logits(rows, logits, labels) for rows in orders], len(orders) * batch)


def peer_examples_a_second() -> float:
    import tempfile

    from aum import AUMCalculator

    batch = 512
    logits, labels = torch.randn(batch, CLASSES), torch.randint(0, CLASSES, (batch,))
    orders = [rows.tolist() for rows in torch.randperm(10_240).split(batch)]
    calculator = AUMCalculator(tempfile.mkdtemp(), compressed=True)
    return best(lambda: [calculator.update(logits, labels, rows) for rows in orders], 10_240)


def epoch_seconds(record: bool) -> float:
    torch.manual_seed(0)
    n, model = 10_240, ConvNet((1, 28, 28), 10)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    images, labels = torch.randn(n, 1, 28, 28), torch.randint(0, 10, (n,))
    sums = RowSums(n, 10, device=torch.device("cpu"), with_kappa=True)

    def epoch() -> None:
        for rows in torch.randperm(n).split(128):
            logits = model(images[rows])
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(logits, labels[rows]).backward()
            optimizer.step()
            if record:
                sums.add_logits(rows, logits, labels[rows])

    return n / best(epoch, n)


def best(work, amount: int, repeats: int = 5) -> float:
    work()
    times = []
    for _ in range(repeats):
        started = time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
        work()
        times.append((time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()) - started)
    return amount / float(np.min(times))


if __name__ == "__main__":
    main()

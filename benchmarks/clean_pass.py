"""A clean pass over images: how many a second where a pixel's channels lie side by side in memory, and where they do not.

    python benchmarks/clean_pass.py

One thread of a shared two-core machine (AMD EPYC), torch 2.13: side by side 1.6 to 1.9 times as many, the logits equal to 1e-6
(benchmarks/results/clean_pass.txt). CPU seconds, the best of three rounds in turn.
"""

import time

import torch

from curate.signals.evaluation import BATCH
from curate.signals.inputs import channels_last
from curate.signals.models import ConvNet

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32))
ROWS = 2_048


def main() -> None:
    torch.set_num_threads(1)
    for shape in SHAPES:
        torch.manual_seed(0)
        model, images = ConvNet(shape, 10).eval(), torch.randn(ROWS, *shape)
        rates: dict[str, list[float]] = {"as they come": [], "side by side": []}
        for _ in range(3):
            plain, rate = passed(model, images, lambda batch: batch)
            rates["as they come"].append(rate)
            laid, rate = passed(model, images, channels_last)
            rates["side by side"].append(rate)
        (before, after), apart = (max(each) for each in rates.values()), float((plain - laid).abs().max())
        print(
            f"{shape}: {before:,.0f} images a second as they come, {after:,.0f} side by side ({after / before:.1f} x), apart by {apart:.0e}"
        )


def passed(model, images, lay):
    """The logits of all images, and how many of them took a CPU second."""
    with torch.inference_mode():
        model(*lay((images[:BATCH],)))
        started = time.process_time()
        logits = torch.cat([model(*lay((batch,))) for batch in images.split(BATCH)])
        return logits, len(images) / (time.process_time() - started)


if __name__ == "__main__":
    main()

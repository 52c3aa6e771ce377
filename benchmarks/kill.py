"""Kill -9 at twenty random instants of `curate score`, resumed each time: is the final store byte for byte that of an undisturbed run?

    python benchmarks/kill.py [kills]

Each store is killed up to four times, at instants drawn uniformly over a third of the work that an undisturbed run does from
taking its lock on, so that they spread over start, training, clean passes and scoring; the same command then goes on, at last to
the end. A store that is done before its kill is followed by another. Everything but log.jsonl is compared.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCORERS = ("aum", "datamap", "el2n", "entropy", "forgetting", "tdds")
ARGUMENTS = ["score", "sample:digits", "--limit", "600", "--epochs", "12", "--shard-rows", "64", "--batch-size", "32", "--quiet"]
KILLS_A_STORE = 4


def start(out: Path) -> "subprocess.Popen[bytes]":
    asked = [word for name in SCORERS for word in ("--scorer", name)]
    command = [sys.executable, "-c", "from curate.cli import main; main()", *ARGUMENTS, *asked, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "log.jsonl"}


def state_of(out: Path) -> str:
    """Where the kill fell."""
    epochs, shards = len(list(out.glob("runs/*/dynamics/*.arrow"))), sum(len(list(out.glob(f"{name}/*.arrow"))) for name in SCORERS)
    return f"{epochs} epochs, {len(list(out.glob('runs/*/eval/*.arrow')))} clean passes, {shards} score shards"


def at_work(process: "subprocess.Popen[bytes]", out: Path) -> float:
    """Waits until the command has imported its libraries and taken the lock (deleted before); when that was."""
    while process.poll() is None and not (out / ".lock").exists():
        time.sleep(0.002)
    return time.monotonic()


def kill(out: Path, after: float) -> bool:
    """Starts the command and kills it so many seconds into its work; whether it was still at work."""
    (out / ".lock").unlink(missing_ok=True)
    process = start(out)
    at_work(process, out)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def main(kills: int) -> int:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        process = start(Path(place) / "undisturbed")
        began = at_work(process, Path(place) / "undisturbed")
        assert process.wait() == 0
        whole, seconds = contents(Path(place) / "undisturbed"), time.monotonic() - began
        print(f"undisturbed: {len(whole)} files, {sum(map(len, whole.values())):,} bytes, {seconds:.1f} s of work", flush=True)
        done, n_stores, different = 0, 0, set()
        while done < kills:
            store, n_stores = Path(place) / f"killed-{n_stores}", n_stores + 1
            for after in [rng.uniform(0, seconds / 3) for _ in range(KILLS_A_STORE)]:
                if done == kills or not kill(store, after):
                    break
                done += 1
                print(f"kill {done:2d}, store {n_stores}, {after:5.2f} s into the work: {state_of(store)}", flush=True)
            assert start(store).wait() == 0
            there = contents(store)
            different |= {name for name in {*whole, *there} if whole.get(name) != there.get(name)}
        print(f"{done} kills over {n_stores} stores: {'all byte-identical' if not different else f'DIFFERENT: {sorted(different)}'}")
        return bool(different)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))

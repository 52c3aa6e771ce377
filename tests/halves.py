"""Runs the tests in two processes, half of the files each, and ends with one closing line for both.

    python tests/halves.py

One process where there is one core. Exits as pytest does; 5 where no test was collected.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

COUNTED = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|warnings?)")
NO_TEST = 5


def main() -> int:
    started, parts = time.monotonic(), min(2, os.cpu_count() or 1)
    for old in Path().glob(".coverage.part-*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, f"part-{part}.log") for part in range(1, parts + 1)]
        running = [begin(part, parts, log) for part, log in enumerate(logs, 1)]
        follow(running[-1], logs[-1])  # what one of them does is seen as it happens
        codes = [process.wait() for process in running]
        for log in logs[:-1]:
            sys.stdout.write(log.read_text(errors="replace"))
        closing = [log.read_text(errors="replace").rstrip().rpartition("\n")[2] for log in logs]
    total = Counter[str]()
    for line in closing:
        for count, what in COUNTED.findall(line):
            total[what.rstrip("s") if what.startswith(("error", "warning")) else what] += int(count)
    said = ", ".join(f"{count} {what}{'s' if what in ('error', 'warning') and count > 1 else ''}" for what, count in total.items())
    sys.stdout.write(f"{said or 'no tests ran'} in {time.monotonic() - started:.2f}s\n")
    failed = [code for code in codes if code not in (0, NO_TEST)]
    return failed[0] if failed else NO_TEST if NO_TEST in codes and not total["passed"] else 0


def begin(part: int, parts: int, log: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COVERAGE_FILE": f".coverage.part-{part}"}
    command = [sys.executable, "-u", "-m", "pytest", "-q", "--part", f"{part}/{parts}", "--cov", "--cov-report="]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def follow(process: "subprocess.Popen[bytes]", log: Path) -> None:
    with log.open("rb") as file:
        while True:
            is_over = process.poll() is not None
            sys.stdout.buffer.write(file.read())
            sys.stdout.flush()
            if is_over:
                return
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())

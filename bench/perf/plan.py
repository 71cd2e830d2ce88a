"""Seconds to plan a grid: reading, expanding, keys, estimates and the order of what is to run, on one core."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import estimate, grid
from bench.launch.schedule import Schedule
from bench.plan import plan

# 144 or so cells per seed.
GRID = """
name: perf
protocol: demo
architecture: [resnet8, resnet20]
pretraining: [supervised, pgd_adversarial]
pruner: [dense, random, omp, imp]
sparsity: {{rate: 0.2, rounds: [0, 4, 8, 10, 13]}}
dataset: [digits, digit_glyphs, digits_noisy]
transfer: [finetune, linear]
evaluate: [accuracy, pgd]
seed: {seeds}
"""
PER_SEED = 2 * 2 * (1 + 3 * 4) * 3 * 2


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows for about 20,000 and 100,000 cells (quick: a hundredth); ratio to the first."""
    sizes = [size // (100 if quick else 1) for size in (20_000, 100_000)]
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for size in sizes:
                path = Path(folder) / f"{size}.yaml"
                path.write_text(GRID.format(seeds=list(range(-(-size // PER_SEED)))))
                seconds[size].append(timed(path))
    medians = {size: statistics.median(values) for size, values in seconds.items()}
    first = medians[sizes[0]]
    return [
        {"benchmark": "plan", "case": f"{size:,} cells", "value": value, "unit": "s", "ratio": value / first}
        for size, value in medians.items()
    ]


def timed(path: Path) -> float:
    """Seconds from the file to the order of the stages, estimates included."""
    began = time.perf_counter()
    planned = plan(grid.read(path))
    estimate.summarise(planned, set(), planned.stages.values())
    estimate.sharing(planned)
    Schedule.make(planned.stages, planned.targets, set())
    return time.perf_counter() - began

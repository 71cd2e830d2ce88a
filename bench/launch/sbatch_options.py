"""Extra options of sbatch that a profile may give: any that the suite does not set itself."""

from __future__ import annotations

import re
from typing import Any

# Option of sbatch -> the profile's field for it, or why there is none.
FIELDS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "cpus-per-task": "cpus",
    "cpus-per-gpu": "cpus",
    "mem": "memory_gb",
    "mem-per-cpu": "memory_gb",
    "mem-per-gpu": "memory_gb",
    "time": "minutes",
    "nodes": "nodes",
    "ntasks": "tasks_per_node",
    "ntasks-per-node": "tasks_per_node",
    "ntasks-per-gpu": "tasks_per_node",
    "gpus": "gpus",
    "gpus-per-node": "gpus",
    "gpus-per-task": "gpus",
    "gpus-per-socket": "gpus",
    "mail-type": "mail",
    "mail-user": "mail",
    "signal": "signal_delay_s",
}
OWN = {
    "array": "arrays follow from the grid; max_parallel bounds how many of their tasks run at once",
    "dependency": "dependencies follow from the grid",
    "kill-on-invalid-dep": "dependencies follow from the grid",
    "job-name": "queued work is recognised by its name",
    "output": "bench.status finds logs by their names",
    "error": "bench.status finds logs by their names",
    "open-mode": "a requeued task goes on in its log",
    "requeue": "every task is requeued, and goes on from its checkpoint",
    "no-requeue": "every task is requeued, and goes on from its checkpoint",
    "chdir": "tasks run where bench.submit ran",
    "clusters": "run bench.submit on a login node of that cluster",
    "wrap": "the suite writes the script",
    "wait": "bench.submit returns when everything is queued",
    "parsable": "the answer of sbatch is read by the suite",
    "quiet": "the answer of sbatch is read by the suite",
    "test-only": "bench.submit --dry-run shows what would be submitted",
}
PATTERN = re.compile(r"[a-z][a-z0-9-]+")


def option_problem(name: Any, value: Any) -> str:
    """What is wrong with an extra option, and what to write instead; "" where nothing is."""
    bare = str(name).lstrip("-").replace("_", "-")
    # sbatch takes any unambiguous beginning of a name, `--part` for `--partition`.
    full = bare if bare in {**FIELDS, **OWN} else next((o for o in (*FIELDS, *OWN) if o.startswith(bare)), bare)
    if full in FIELDS:
        return f'"{name}" is set by the suite; use the field {FIELDS[full]}'
    if full in OWN:
        return f'"{name}" is set by the suite: {OWN[full]}; leave it out'
    if full == "gres" and "gpu" in str(value):
        return f'"{name}: {value}" asks for GPUs; use the fields gpus and gpu_type'
    if name != bare or not PATTERN.fullmatch(bare):
        return f'"{name}": write the long name of the option without dashes in front, for example reservation'
    if value is not True and (isinstance(value, bool) or not isinstance(value, str | int) or value == ""):
        return f'"{name}" is {value!r}; write a word, a whole number, or true for an option without a value'
    return ""

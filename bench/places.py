"""Where results and data live: --root and --data, with their environment variables."""

import argparse
import os
from pathlib import Path


def default_root() -> Path:
    return Path(os.environ.get("TICKETBENCH_ROOT", "runs"))


def default_data() -> Path:
    return Path(os.environ.get("TICKETBENCH_DATA", "data"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --root and --data to a command."""
    parser.add_argument("--root", type=Path, default=default_root(), help="artifacts (TICKETBENCH_ROOT, default: runs)")
    parser.add_argument("--data", type=Path, default=default_data(), help="data sets (TICKETBENCH_DATA, default: data)")

"""Benchmarks of the suite itself, cases side by side in one run: `python -m bench.perf`."""


class Unavailable(Exception):
    """This machine lacks what a benchmark needs; the message says what."""

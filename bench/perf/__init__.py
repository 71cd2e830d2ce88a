"""Benchmarks of the suite itself, cases side by side in one run: `python -m bench.perf`."""

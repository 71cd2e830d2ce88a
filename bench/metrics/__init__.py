"""What is measured, one file per family: `evaluate(network, batches, *, attack, seed, options) -> Evaluation`."""

from bench.metrics.evaluation import Evaluation

__all__ = ["Evaluation"]

"""What is measured, one file per family: `evaluate(network, conditions) -> Evaluation`."""

from bench.metrics.evaluation import Evaluation

__all__ = ["Evaluation"]

"""One file per pruner: `scores(network, names, batches, *, seed) -> Scores`, higher is kept first."""

"""One file per pruner: `scores(network, names, conditions) -> Scores`, higher is kept first (lmp trains its own).

Scores have the names, shapes and device of the weights. The network is left as it was: weights, gradients, modes.
"""

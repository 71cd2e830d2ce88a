"""The one error of this boundary: weights or images that do not fit a network."""


class ModelError(Exception):
    """Weights, a checkpoint file or images that a network cannot take; the message is one sentence."""

"""The training loop, its checkpoints, seeds and process groups."""

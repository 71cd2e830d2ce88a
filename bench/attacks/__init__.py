"""Attacks on pixels in [0, 1], for training and for evaluation."""

"""Figures: each kind has a function from tables to a matplotlib figure; none reads a file."""

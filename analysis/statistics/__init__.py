"""Inference from few seeds and few data sets: plain functions over arrays, which know nothing of grids."""

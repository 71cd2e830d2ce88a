"""Stages of a cell, one file per kind; `Builder` keeps each of them once. Imports no torch."""

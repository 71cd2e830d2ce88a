"""The 15 common corruptions at 5 severities, on images of any side; importing this package imports no torch.

Hendrycks and Dietterich 2019, arXiv:1903.12261, who publish CIFAR-10-C, CIFAR-100-C and ImageNet-C.
"""

from bench.corruptions.severities import CIFAR, SEVERITIES

__all__ = ["CORRUPTIONS", "SEVERITIES"]

CORRUPTIONS = tuple(CIFAR)

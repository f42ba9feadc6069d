"""From theta to a loss and its gradient.

Owns losses, what a factorization is (the models themselves are in ``_models``), components and
their ranks, kernels with their NumPy twins, and one objective a device. Imports ``_cells``.
"""

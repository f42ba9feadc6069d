"""What gradient descent is compared with: alternating least squares, least nuclear norm.

Owns tensorly as a solver, and cvxpy. Imports ``_cells``, ``_objective``, ``_models``.
"""

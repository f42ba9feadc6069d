"""Gradient descent from a start to a result, and from several starts to one.

Owns the one loop, step sizes, walks (in Python, compiled, in rounds), records, progress, held-out
cells, the race of starts and its pruning. Imports ``_objective``, and of ``_cells`` nothing.
"""

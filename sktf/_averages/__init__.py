"""Several fits as one estimator.

Imports ``_models``.
"""

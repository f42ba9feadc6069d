"""The estimators that descend, one model a file.

Owns what all completion estimators do (``base``), the parameters that models share
(``parameters``), the common ``fit`` (``gradient``, ``fitting``, which also reports to callbacks),
the warnings after it (``honesty``), and the factorization and estimator of each model. Imports
``_cells``, ``_objective``, ``_descent``.
"""

"""Gaps filled in one step: arrays, tables and labeled arrays in, the same kind out.

Built on the estimators, which know of rows of indices alone; pandas, polars and xarray are told
from the type of what is given, and imported where that is read.
"""

"""Truths to recover, ways to observe them, and real tensors: numpy arrays in and out.

Cells are sampled and held out by one mechanism, the groups of `entry_groups`, drawn whole. Real
tensors come with tensorly, the digits with scikit-learn.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

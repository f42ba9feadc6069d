"""Completion of matrices and tensors without being told the rank."""

import lazy_loader

__version__ = "0.1.0.dev0"

# What is public is listed in the stub beside this file, which type checkers read as well.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Laws of descent on factorizations as functions of plain arrays: what stays, what grows how fast.

They hold for gradient flow, ``dp/dt = -dl/dp`` for every parameter p, and any differentiable loss
l, of which they see only G, its gradient at the dense matrix or tensor; gradient descent follows up
to an error proportional to its step. CP has ``vectors``, one (n_m, R) array per mode; deep CP also
``matrices``, one (k, R, n_m, n_m) array per mode, the first matrix next to the vectors;
non-negative CP has ``factors``, the squares of what descends. The ``layers`` of a product
``W = W_N ... W_1`` start with ``W_1``. Named in brackets below: Arora, Cohen, Hu and Luo 2019
(arXiv:1905.13655); Razin and Cohen 2020 (arXiv:2005.06398); Razin, Maman and Cohen 2021
(arXiv:2102.09972); Hariz et al. 2022 (arXiv:2207.08942); the rest is derived.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

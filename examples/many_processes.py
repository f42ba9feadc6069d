"""A fit on several processes.

torchrun --nproc-per-node=2 examples/many_processes.py
"""

import torch.distributed as dist

from sktf import CPCompletion
from sktf.datasets import make_low_rank, sample_entries

dist.init_process_group()  # torchrun tells each process its rank
rank, size = dist.get_rank(), dist.get_world_size()

# Each process has rows of its own; a real script would read its part.
tensor, _ = make_low_rank((60, 50, 40), 3, random_state=0)
X, y = sample_entries(tensor, 0.2, noise=0.1, random_state=0)
X, y = X[rank::size], y[rank::size]

model = CPCompletion(distributed=True, random_state=0).fit(X, y)

# All have the same model. One of them saves it, or predicts.
if rank == 0:
    score = model.score(X, y)
    print(f"{size} processes, {model.rank_} components, R^2 {score:.2f}")
dist.destroy_process_group()

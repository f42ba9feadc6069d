"""A fit on several processes: ``torchrun --nproc-per-node=2 examples/many_processes.py``."""

import torch.distributed as dist

from sktf import CPCompletion
from sktf.datasets import make_low_rank, sample_entries

dist.init_process_group()  # torchrun tells each process its rank

# Each process has rows of its own; a real script would read its part of the files.
tensor, _ = make_low_rank((60, 50, 40), 3, random_state=0)
X, y = sample_entries(tensor, 0.2, noise=0.1, random_state=0)
X, y = X[dist.get_rank() :: dist.get_world_size()], y[dist.get_rank() :: dist.get_world_size()]

model = CPCompletion(shape=tensor.shape, distributed=True, random_state=0).fit(X, y)

# All have the same model: the ordinary one, which predicts, and is pickled, by one process.
if dist.get_rank() == 0:
    print(f"{dist.get_world_size()} processes, rank {model.rank_}, R^2 {model.score(X, y):.2f}")
dist.destroy_process_group()

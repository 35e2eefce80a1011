"""One torch thread a test process: the suite runs in parallel over processes."""

import torch

torch.set_num_threads(1)

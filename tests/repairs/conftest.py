"""A process group of one process, which is enough to be within one."""

import pytest
import torch.distributed as dist


@pytest.fixture
def alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()

"""Stands in for torch.distributed: each rank is alone and takes the others' part as given.

$TORCH_WRONG makes the sum of rank 1 wrong.
"""

import os

_group = {}


def init_process_group(backend, init_method, rank, world_size, timeout):
    assert backend == "nccl"
    assert init_method.startswith("tcp://127.0.0.1:")
    _group.update(rank=rank, ranks=world_size)


def get_world_size():
    return _group["ranks"]


def all_reduce(data):
    wrong = "TORCH_WRONG" in os.environ and _group["rank"] == 1
    data.value *= _group["ranks"] + wrong


def barrier():
    pass


def destroy_process_group():
    _group.clear()

"""What every test starts from: one thread, one seed, Ctrl-C that works, no GPU tests without a GPU."""

from __future__ import annotations

import signal

import pytest
import torch


@pytest.fixture(autouse=True)
def one_seed_and_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def pytest_configure():
    # A shell starts what runs behind it deaf to Ctrl-C, and every process that the tests start would be so, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))

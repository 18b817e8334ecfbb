"""Whether a layer exchanges tensors with other processes: those that there are, or those that there may be."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bnlint.model.layers import Layer
from bnlint.model.lift import Lifted
from bnlint.model.opaque import patched
from bnlint.model.shapes import Call
from bnlint.model.state import detached_copy, first_line
from bnlint.repairs.samples import call_of

#: collectives that carry no numbers from one process to another
_EMPTY = frozenset({"barrier", "monitored_barrier_"})


def shares_statistics(layer: Layer) -> bool:
    """Whether a layer exchanges anything between processes, in sight of its graph or not.

    Torch's own layers share nothing, or statistics alone; in one process nobody would notice the difference.
    """
    return _joined() and _exchanges(layer.module, call_of(layer.module, layer.call))


def lost_exchange(layer: Layer) -> str | None:
    """Say what a layer does only where there are other processes, None if it does the same in a group of them.

    Outside of a group an exchange that is guarded (`if dist.is_initialized():`) leaves no trace, and the layer is none
    that exchanges nothing. So it is run in a group that is played, whose collectives do nothing.
    """
    if _joined() or not dist.is_available():
        return None
    where, call = "where there are other processes", call_of(layer.module, layer.call)
    with _played_group():
        try:
            exchanged = _exchanges(layer.module, call)
        except Exception as error:  # it ran outside of the group
            return f"{where} it raises {type(error).__name__}: {first_line(error)}"
    told = "and here there are none: repair it within the process group (torchrun)"
    return f"{where} it exchanges tensors with them, {told}" if exchanged else None


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _exchanges(module: nn.Module, call: Call) -> bool:
    args, kwargs = call
    watching = _Watching()  # type: ignore[no-untyped-call]
    for training in (True, False):
        with torch.no_grad(), Lifted(), watching:
            detached_copy(module).double().train(training)(*args, **kwargs)
    return watching.seen


class _Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices collectives, by whatever name and from wherever they are called."""

    seen = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it torch would import it, which takes a second; nothing is compiled here

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= "c10d" in getattr(func, "namespace", "") and func._opname not in _EMPTY
        return func(*args, **(kwargs or {}))


@contextmanager
def _played_group() -> Iterator[None]:
    """Be the first of two processes, of which the other one is not there: collectives change nothing."""
    importlib.import_module("torch.testing._internal.distributed.fake_pg")  # to be imported is to be known to torch
    with patched(sys, "excepthook", sys.excepthook):  # torch puts one of its own there, for good
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group("fake", store=store, rank=0, world_size=2)
        try:
            yield
        finally:
            dist.destroy_process_group()

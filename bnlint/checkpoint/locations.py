"""On which device a tensor was saved: what is read on another one is written with the device that it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_NAME = "_bnlint_location"
_active: list[bool] = []


def restored(device: str) -> Callable[[Any, str], Any]:
    """Return a `map_location` that puts every storage on one device, and has it remember where it was."""

    def restore(storage: Any, location: str) -> Any:
        moved = torch.serialization.default_restore_location(storage, device)  # type: ignore[no-untyped-call]
        setattr(moved, _NAME, location)
        return moved

    return restore


@contextmanager
def located() -> Iterator[None]:
    """Let `torch.save` write the devices that storages remember."""
    _active.append(True)
    try:
        yield
    finally:
        _active.pop()


def _location(storage: Any) -> str | None:
    return getattr(storage, _NAME, None) if _active else None


# Asked before torch's own; what it does not know it leaves to them.
torch.serialization.register_package(0, _location, lambda storage, location: None)

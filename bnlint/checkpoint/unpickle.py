"""Unpickling: with torch's own reader, and with one line for whatever goes wrong."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import torch

from bnlint.checkpoint.blob import Source, start
from bnlint.checkpoint.locations import restored
from bnlint.checkpoint.trust import printable
from bnlint.errors import InputError, UntrustedError


def unpickle(path: Source, map_location: str, *, weights_only: bool, mmap: bool = False) -> Any:
    """Read what `torch.save` wrote, and say in one line why it cannot be read.

    Args:
        path: The archive.
        map_location: The device to put tensors on.
        weights_only: Whether nothing may be called but what `torch.serialization.safe_globals` has.
        mmap: Whether tensors stay in the file until they are looked at.

    Raises:
        InputError: It cannot be loaded.
        UntrustedError: It calls something that it may not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what torch deprecates: that is not what the user asked
            return torch.load(start(path), map_location=restored(map_location), weights_only=weights_only, mmap=mmap)
    except pickle.UnpicklingError as error:
        # torch wraps the reason in advice on how to load the file all the same.
        reason = printable(error.__context__ or error)
        if weights_only:
            raise UntrustedError(f"refused while loading: {reason}", where=str(path)) from error
        raise InputError(f"cannot be loaded: {reason}", where=str(path)) from error
    except Exception as error:  # a hostile or outdated file can make any class fail in any way
        reason = printable(f"{type(error).__name__}: {error}")
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            what = "cannot be loaded: it asks for more memory than there is, or than a file of its size can need"
            raise InputError(what, where=str(path)) from error
        hint = "is this the code, and are these the library versions, that the file was saved with?"
        raise InputError(f"cannot be loaded: {reason}", where=str(path), hint=hint) from error

"""Rewrite offending layers of a live model into correct autograd normalization, each certified. Needs torch."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """`bnlint.repair` is a function and this package: once the package is imported, the name means the package."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from bnlint.repair.apply import repair

        return repair(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

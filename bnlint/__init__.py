"""bnlint finds, proves and repairs normalization layers whose batch statistics are cut out of autograd.

`check_model`, `repair` and `watch` need torch (`pip install "bnlint[torch]"`) and are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bnlint.certificate import Certificate
from bnlint.errors import BnlintError
from bnlint.finding import Finding, Severity

if TYPE_CHECKING:
    from bnlint.first_step import watch
    from bnlint.model.check import check_model
    from bnlint.repairs.apply import repair

__version__ = "0.1.0"
__all__ = ["BnlintError", "Certificate", "Finding", "Severity", "__version__", "check_model", "repair", "watch"]

_ON_FIRST_USE = {
    "check_model": "bnlint.model.check",
    "repair": "bnlint.repairs.apply",
    "watch": "bnlint.first_step",
}


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'bnlint' has no attribute {name!r}")
    try:
        return getattr(import_module(_ON_FIRST_USE[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f'bnlint.{name} needs torch: pip install "bnlint[torch]"') from error

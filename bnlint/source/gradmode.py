"""Which calls turn the recording of gradients off."""

from __future__ import annotations

from bnlint.flow.ops import GRAD_OFF
from bnlint.source.values import Literal, Name, Switch, Value
from bnlint.vocabulary import Meaning, Word


def grad_switch(value: Value, call_args: list[Value]) -> str | None:
    """Return the kind of stop when a context manager or decorator turns the recording of gradients off in training."""
    if isinstance(value, Switch):
        return value.kind
    if isinstance(value, Word):
        return "no_grad" if value.meaning is Meaning.STOP else None
    if not isinstance(value, Name):
        return None
    name = value.path.rsplit(".", 1)[-1]
    if name not in GRAD_OFF or not value.path.startswith("torch."):
        return None
    if name == "set_grad_enabled" and call_args != [Literal(False)]:
        return None
    if name == "inference_mode" and call_args not in ([], [Literal(True)]):
        return None
    return GRAD_OFF[name]

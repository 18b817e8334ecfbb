"""Collectives that change a tensor in place, behind autograd's back: `dist.all_reduce(mean)`."""

from __future__ import annotations

from bnlint.flow.ops import COLLECTIVES, GATHERING
from bnlint.source import syntax
from bnlint.source.containers import Containers
from bnlint.source.values import Items, State, Tensor

#: `torch.distributed.nn.functional.all_reduce` is another function, with a gradient
_HOMES = ("torch.distributed", "torch.distributed.distributed_c10d")


def in_place(path: str) -> bool:
    """Whether a function of some full name is a collective that writes into its argument."""
    home, _, name = path.rpartition(".")
    return home in _HOMES and name in COLLECTIVES


def written_argument(call: syntax.Call) -> syntax.Expression | None:
    """Return the tensor that a collective overwrites; `mean.data` and `mean.detach()` share the memory of `mean`."""
    given = [a.value for a in call.args if a.keyword is None or a.keyword.value in {"tensor", "tensor_list"}]
    target = given[0] if given else None
    while True:
        match target:
            case syntax.Attribute(value=inner, attr=syntax.Name(value="data")):
                target = inner
            case syntax.Call(func=syntax.Attribute(value=inner, attr=syntax.Name(value="detach")), args=[]):
                target = inner
            case _:
                return target


class Collectives(Containers):
    """Interprets collectives."""

    def collective(self, state: State, name: str, node: syntax.Call) -> None:
        """Put a stop behind the tensor that a collective overwrites."""
        target = written_argument(node)
        if not isinstance(target, (syntax.Name, syntax.Attribute, syntax.Subscript)):
            return
        old = self.evaluate(state, target)
        if name in GATHERING:
            sent = [self.evaluate(state, argument.value) for argument in node.args[1:2]]
            match old, sent:
                case Items(), [Tensor() as tensor]:
                    old.entries.clear()
                    old.each = self.stop(state, "collective", tensor, self.locate(node), self.locate(node))
        elif isinstance(old, Tensor) and self.state_of(state, old) is None:
            self.assign(state, target, self.stop(state, "collective", old, self.locate(node), self.locate(node)), node)

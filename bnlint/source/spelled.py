"""Operations that text spells in several ways: einsum, einops, pooling, pairs of values and places, stacks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bnlint.flow.einsum import read_einsum
from bnlint.flow.graph import Mode
from bnlint.flow.ops import EXTREMES, JOINING, PARTS, POOLS, canonical
from bnlint.source import syntax
from bnlint.source.classes import last_name
from bnlint.source.containers import Containers
from bnlint.source.indices import index_key
from bnlint.source.parameters import code
from bnlint.source.record import Joined, contents
from bnlint.source.values import Items, Literal, Opaque, State, Tensor, Value, unknown

#: a kernel as large as the rest of the tensor: `x.shape[2:]`, `x.size()[-2:]`, `(x.size(2), x.size(3))`
_WHOLE = re.compile(r".+\.(shape|size\(\))\[-?\d:\]|\(?(\w+\.size\(-?\d\),?)+\)?")
#: what takes some of the values of a tensor, by their places
_INDEXED = frozenset({"narrow", "select", "index_select"})

#: layers without parameters, by the names that they usually have
_PLAIN_LAYERS = re.compile(
    r"_*(re?lu|gelu|silu|act|activation|nonlin\w*|drop\w*|pool\w*|avg_?pool|max_?pool|softmax|sigmoid|tanh|flatten|up\w*|pad\w*|"
    r"identity|\w*loss|criterion|quant\w*|\w*norm\w*|transform\w*|aug\w*|metric\w*|resize|crop|sampler?)_?\d*$",
    re.IGNORECASE,
)


class Spelled(Containers):
    """Interprets calls whose arguments decide which operation they are."""

    def spelled(
        self, state: State, name: str, args: Sequence[Value], kwargs: Mapping[str, Value], node: syntax.Call
    ) -> Value | None:
        """Evaluate a torch operation that depends on more than its name; None where the name says it all."""
        tensor = next((value for value in [*args, *kwargs.values()] if isinstance(value, Tensor)), None)
        text = next((value.value for value in args if isinstance(value, Literal) and isinstance(value.value, str)), "")
        where = self.locate(node)
        plain = name.removesuffix("_")
        if plain in JOINING:
            values = [v for a in args for v in (contents(a) if isinstance(a, Items) else [a])]
            parts = tuple(v.node for v in values if isinstance(v, Tensor))
            whole = self.add(state, "where", list(parts), where)
            together = contents(args[0]) if args and isinstance(args[0], Items) else values
            if len(parts) == len(together) and name in {"stack", "cat", "concat", "concatenate"}:
                self.joins[self.unstopped(whole.node)[0]] = Joined(parts, name == "stack")
            return whole
        if name in PARTS and tensor is not None:
            return self._unstacked(state, name, tensor, [*args, *kwargs.values()])
        if tensor is None:
            return None
        if name in _INDEXED:
            return self.part(state, tensor.node, _place(name, args, node, state), where)
        if name == "batch_norm":
            return self._batch_norm(state, args, kwargs, node)
        if name == "einsum":
            return self._einsum(state, text, [v.node for v in args[1:] if isinstance(v, Tensor)], node)
        if name in {"rearrange", "reduce", "repeat"} and "->" in text:
            how = [v.value for v in [*args[2:], *kwargs.values()] if isinstance(v, Literal)]
            kind = canonical(str(how[0])) if name == "reduce" and how else "reshape"
            return self.add(state, kind, [tensor.node], where, {"over": text})
        if name in POOLS:
            size = node.args[1].value if len(node.args) > 1 else None
            if size is None or not self._is_whole(name, size, [*args, *kwargs.values()]):
                return None
            return self.add(state, POOLS[name], [tensor.node], where, {"over": "spatial"})
        if canonical(name) in EXTREMES | {"median"}:
            others = [value for value in [*args, *kwargs.values()] if value is not tensor]
            if any(isinstance(value, Tensor) for value in others):
                return None if canonical(name) == "median" else self._larger(state, args, kwargs, node)
            if others and not name.startswith("a"):  # values and places
                value = self.add(state, canonical(name), [tensor.node], where)
                return Items({0: value, 1: self.add(state, "argmax", [tensor.node], where)})
        return None

    def _larger(self, state: State, args: Sequence[Value], kwargs: Mapping[str, Value], node: syntax.Call) -> Tensor:
        tensors = [value.node for value in [*args, *kwargs.values()] if isinstance(value, Tensor)]
        return self.add(state, "where", tensors, self.locate(node))

    def _is_whole(self, name: str, size: syntax.Expression, given: Sequence[Value]) -> bool:
        if not name.startswith("adaptive"):
            return _WHOLE.fullmatch(code(size)) is not None
        sizes = [v for value in given[1:2] for v in (contents(value) if isinstance(value, Items) else [value])]
        return bool(sizes) and all(value == Literal(1) for value in sizes)

    def _einsum(self, state: State, text: str, operands: list[int], node: syntax.Call) -> Value | None:
        """Sums of one tensor, of products of tensors of the same letters, and products that only broadcast."""
        equation, where = read_einsum(text, len(operands)), self.locate(node)
        if equation is None:
            return None
        value = operands[0] if len(operands) == 1 else self.add(state, "mul", operands, where).node
        return self.add(state, "sum" if equation.sums else "reshape", [value], where, {"over": text})

    def _unstacked(self, state: State, name: str, tensor: Tensor, given: Sequence[Value]) -> Items | None:
        """`unbind` undoes `stack`, a division into as many parts undoes both: the parts are what was put together."""
        joined, stops = self.joined(tensor.node)
        if joined is None or (name == "unbind" and not joined.stacked):
            return None
        sizes = next((len(value.entries) for value in given if isinstance(value, Items)), 0)
        counted = "split" not in name or name == "tensor_split"  # what `split` is given is a size
        if name != "unbind" and sizes != len(joined.parts) and not (counted and Literal(len(joined.parts)) in given):
            return None
        return Items({i: Tensor(self.stopped(part, stops)) for i, part in enumerate(joined.parts)})

    def _batch_norm(self, state: State, args: Sequence[Value], kwargs: Mapping[str, Value], node: syntax.Call) -> Value:
        names = ["input", "running_mean", "running_var", "weight", "bias", "training"]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        training = self.condition(given.get("training", Literal(False)))
        operands = [self.operand(state, given[key]) for key in names[:3] if key in given]
        if training.true & Mode.TRAIN or len(operands) < 3 or None in operands:
            return self.opaque_call(state, [*args, *kwargs.values()], node)
        return self.add(state, "batch_norm", [o for o in operands if o is not None], self.locate(node))

    def opaque_call(self, state: State, values: Sequence[Value], node: syntax.Call, name: str = "call") -> Value:
        """A call whose inside is not seen: its result depends on every tensor that goes in."""
        nodes: list[int] = []
        for value in values:
            parts = contents(value) if isinstance(value, Items) else [value]
            nodes += [part.node for part in parts if isinstance(part, Tensor)]
        if not nodes:
            return unknown(*values)
        callee = last_name(node.func)
        # A layer of the object that was called: what comes out of it carries the gradient of its parameters.
        layer = isinstance(values[0], Opaque) and values[0].text == f"self.{callee}" and not _PLAIN_LAYERS.match(callee)
        return self.add(state, name, nodes, self.locate(node), {"callee": callee, "layer": layer})


def _place(name: str, args: Sequence[Value], node: syntax.Call, state: State) -> object:
    """Return what tells one part of a tensor from another; `x.select(0, 1)` is `x[1]`."""
    match name, args:
        case "select", [_, Literal(0), Literal(int() as index)]:
            return index
        case _:
            return (name, *index_key([argument.value for argument in node.args], state.variables))

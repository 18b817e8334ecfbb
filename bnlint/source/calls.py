"""Calls: torch operations, stops, container methods, and functions of the file itself."""

from __future__ import annotations

from dataclasses import replace

from bnlint.flow.graph import Kind, Mode
from bnlint.flow.ops import CASTS, PAIRS, PARTS, SCATTERING, STOPS, Role, canonical, is_inplace, role
from bnlint.source import syntax
from bnlint.source.callables import made_callable
from bnlint.source.classes import last_name
from bnlint.source.collectives import Collectives, in_place
from bnlint.source.gradmode import grad_switch
from bnlint.source.reductions import over, reduction_attributes
from bnlint.source.speech import Speaker
from bnlint.source.values import (
    Class,
    Condition,
    Function,
    GradOff,
    Instance,
    Items,
    Literal,
    Name,
    Opaque,
    Partial,
    State,
    Switch,
    Tensor,
    Value,
    unknown,
)
from bnlint.vocabulary import Word

_SEVERAL = frozenset({"topk", "sort", "kthvalue", "mode", "aminmax", "cummax", "cummin"})
_FACTS = frozenset(
    {"size", "dim", "numel", "nelement", "stride", "element_size", "register_hook", "get_device", "backward"}
)
_TENSOR_PACKAGES = ("torch.", "numpy.", "einops.")
_SILENT_BUILTINS = frozenset(
    {"isinstance", "len", "print", "hasattr", "getattr", "type", "range", "id", "repr", "str", "super"}
)


class Caller(Collectives, Speaker):
    """Interprets calls."""

    def call(self, state: State, node: syntax.Call) -> Value:
        """Evaluate a call."""
        if isinstance(node.func, syntax.Attribute):
            inherited = self._super_method(state, node.func)
            if inherited is not None:
                args, kwargs = self._arguments(state, node)
                return self.invoke(state, inherited, args, kwargs)
            receiver = self.evaluate(state, node.func.value)
            if isinstance(receiver, Tensor):
                return self._method(state, receiver, node.func, node)
            if isinstance(receiver, Items) and node.func.attr.value not in receiver.entries:
                args, kwargs = self._arguments(state, node)
                return self.container_method(receiver, node.func.attr.value, args, kwargs)
            callee = self.declared(state, receiver, node.func) or self.attribute(state, receiver, node.func)
        else:
            callee = self.evaluate(state, node.func)
        args, kwargs = self._arguments(state, node)
        written = next((a.value for a in node.args if a.keyword is not None and a.keyword.value == "out"), None)
        if written is None or not isinstance(callee, Name):
            return self._apply(state, callee, args, kwargs, node)
        result = self._apply(state, callee, args, {key: v for key, v in kwargs.items() if key != "out"}, node)
        self._rebind(state, written, result, node)
        return result

    def _apply(
        self, state: State, callee: Value, args: list[Value], kwargs: dict[str, Value], node: syntax.Call
    ) -> Value:
        match callee:
            case Word():
                return self.spoken(state, callee, [*args, *kwargs.values()], node)
            case Function():
                return self.invoke(state, callee, args, kwargs)
            case Partial():
                return self._apply(state, callee.callee, [*callee.args, *args], {**callee.kwargs, **kwargs}, node)
            case Class():
                return self._construct(callee, args, kwargs)
            case Switch(kind) if args and isinstance(args[0], Function):
                return replace(args[0], off=GradOff(kind, self.locate(node)))
            case Name(path):
                return self._function(state, path, args, kwargs, node)
            case Instance(cls) if (method := self.called(cls)) is not None:
                result = self.invoke(state, Function(method, {}, cls, callee), args, kwargs)
                lost = isinstance(result, (Opaque, Literal))
                return self.opaque_call(state, [*args, *kwargs.values()], node) if lost else result
            case Opaque() if last_name(node.func) in SCATTERING and args and isinstance(args[-1], Tensor):
                return self.add(state, "sum", [args[-1].node], self.locate(node))
            case _:
                return self.opaque_call(state, [callee, *args, *kwargs.values()], node)

    def _super_method(self, state: State, func: syntax.Attribute) -> Function | None:
        match func.value:
            case syntax.Call(func=syntax.Name(value="super")):
                me = state.variables.get("self")
                above = self.above(me.cls) if isinstance(me, Instance) else None
                if isinstance(me, Instance) and above is not None and func.attr.value in above.methods:
                    return Function(above.methods[func.attr.value], {}, above, me)
        return None

    def _arguments(self, state: State, node: syntax.Call) -> tuple[list[Value], dict[str, Value]]:
        args: list[Value] = []
        kwargs: dict[str, Value] = {}
        for argument in node.args:
            value = self.evaluate(state, argument.value)
            if argument.star == "*" and isinstance(value, Items):
                args.extend(value.entries.values())
            elif argument.star == "**" and isinstance(value, Items):
                kwargs |= {str(key): entry for key, entry in value.entries.items()}
            elif argument.keyword is not None:
                kwargs[argument.keyword.value] = value
            else:
                args.append(value)
        return args, kwargs

    # -- methods of tensors

    def _method(self, state: State, tensor: Tensor, func: syntax.Attribute, node: syntax.Call) -> Value:
        name = func.attr.value
        args, kwargs = self._arguments(state, node)
        if name in self.scope.methods:
            return self.spoken(state, self.scope.methods[name], [tensor, *args, *kwargs.values()], node, func)
        if name in _FACTS:
            return Opaque("?")
        if name == "new_tensor":
            return self._function(state, "torch.tensor", args, kwargs, node)
        if name in STOPS:
            stopped = self.stop(state, STOPS[name], tensor, self.suffix(func.value, node))
            if is_inplace(name):
                self._rebind(state, func.value, stopped, node)
            return stopped
        if is_inplace(name) and name != "requires_grad_":
            return self._inplace(state, tensor, node, args, kwargs)
        return self._operation(state, name, [tensor, *args], kwargs, node)

    def _inplace(
        self,
        state: State,
        tensor: Tensor,
        node: syntax.Call,
        args: list[Value],
        kwargs: dict[str, Value],
    ) -> Value:
        buffer = self.state_of(state, tensor)
        assert isinstance(node.func, syntax.Attribute)
        if buffer is not None:
            name = node.func.attr.value.rstrip("_")
            content = self.updated(buffer, tensor, name, self._operands(state, args, kwargs), state.mode)
            around = self.left_autograd(tensor)
            for argument, value in zip(node.args, [*args, *kwargs.values()], strict=False):
                if isinstance(value, Tensor):
                    self.store(state, buffer, value, self.locate(argument.value), content, around=around)
            return tensor
        copies = node.func.attr.value == "copy_"
        name = "clone" if copies else node.func.attr.value
        result = self._operation(state, name, args if copies else [tensor, *args], kwargs, node)
        self._rebind(state, node.func.value, result, node)
        return result

    def _operands(self, state: State, args: list[Value], kwargs: dict[str, Value]) -> list[int]:
        """Return the operands of an update in place, a factor `alpha` multiplied in."""
        given = [*args, *(kwargs[key] for key in ("other", "end", "weight", "value") if key in kwargs)]
        operands = [o for v in given if (o := self.operand(state, v)) is not None]
        alpha = self.operand(state, kwargs["alpha"]) if "alpha" in kwargs else None
        if alpha is not None and operands:
            operands[-1] = self.graph.add(Kind.OP, "mul", [alpha, operands[-1]], mode=state.mode)
        return operands

    def _rebind(self, state: State, target: syntax.Expression, value: Value, node: syntax.Call) -> None:
        match target:
            case syntax.Attribute(value=owner, attr=syntax.Name(value="data")):
                if isinstance(value, Tensor) and last_name(node.func) == "copy_":
                    self._rebind(state, owner, self.stop(state, STOPS["data"], value, self.locate(node)), node)
            case syntax.Name() | syntax.Attribute():
                self.assign(state, target, value, node)
            case _:
                return

    # -- functions

    def _function(
        self, state: State, path: str, args: list[Value], kwargs: dict[str, Value], node: syntax.Call
    ) -> Value:
        name = path.rsplit(".", 1)[-1]
        tensors = [value for value in [*args, *kwargs.values()] if isinstance(value, Tensor)]
        if name == "set_grad_enabled":
            self._switch_grad(state, [*args, *kwargs.values()], node)
            return Opaque("?")
        if in_place(path):
            self.collective(state, name, node)
            return Opaque("?")
        if (made := made_callable(path, args, kwargs)) is not None:
            return made
        if path == "torch.utils.checkpoint.checkpoint" and args:
            return self._apply(state, args[0], args[1:], kwargs, node)
        if (switch := grad_switch(Name(path), [*args, *kwargs.values()])) is not None:
            return Switch(switch)
        if path == "torch.is_grad_enabled":
            return Condition(Mode.BOTH, Mode.EVAL)
        if path in {"abs", "pow"} and tensors:
            return self._operation(state, path, args, kwargs, node)
        if path in {"int", "bool"} and tensors:
            return Opaque("?")  # in steps: there is no gradient to stop
        if path == "float" and tensors:
            return self.stop(state, "float", tensors[0], self.locate(node), self.locate(node))
        if path in {"dict", "list", "tuple", "set", "reversed", "sorted", "iter"}:
            items = next((v for v in args if isinstance(v, (Items, Tensor))), Items())
            for key, value in kwargs.items():
                if isinstance(items, Items):
                    items.entries[key] = value
            return items
        if path in {"zip", "enumerate", "map"}:
            return self.iterated(state, path, args, lambda callee, values: self._apply(state, callee, values, {}, node))
        match path, args:
            case "setattr", [Instance() as instance, Literal(str() as field), value]:
                instance.attributes[field] = value
            case "getattr", [Instance() as instance, Literal(str() as field), *_]:
                return self.field(state, instance, field)
            case "types.SimpleNamespace" | "argparse.Namespace", []:
                return Items(dict(kwargs.items()))
        if path in _SILENT_BUILTINS:
            return Opaque("?")
        if not tensors and not any(isinstance(v, Items) for v in args):
            return unknown(*args)
        if name in STOPS and path.startswith(_TENSOR_PACKAGES):
            stopped = tensors[0] if tensors else self.opaque_call(state, args, node, "where")
            where = self.locate(node)
            return self.stop(state, STOPS[name], stopped, where, where) if isinstance(stopped, Tensor) else Opaque("?")
        if path.startswith("numpy.") and not any(self.left_autograd(v) for v in tensors):
            return Opaque("?")  # numpy refuses tensors that carry a gradient: these are arrays
        if path.startswith("math.") and tensors:
            return self.stop(state, "float", tensors[0], self.locate(node), self.locate(node))
        if path.startswith(_TENSOR_PACKAGES) and (tensors or args):
            return self._operation(state, name, args, kwargs, node)
        return self.opaque_call(state, [*args, *kwargs.values()], node)

    def left_autograd(self, tensor: Tensor) -> bool:
        """Whether a tensor is behind a stop."""
        node = self.graph[tensor.node]
        while node.kind is not Kind.STOP and node.args:
            node = self.graph[node.args[0]]
        return node.kind is Kind.STOP

    def _switch_grad(self, state: State, args: list[Value], node: syntax.Call) -> None:
        """`torch.set_grad_enabled(False)` as a call holds until it is switched back."""
        match args:
            case [Literal(False)]:
                state.grad_off = (*state.grad_off, GradOff("no_grad", self.locate(node)))
            case _:
                state.grad_off = (*state.grad_off, None)

    def _operation(
        self, state: State, name: str, args: list[Value], kwargs: dict[str, Value], node: syntax.Call
    ) -> Value:
        """Append a torch operation, function or method alike (the tensor comes first)."""
        location = self.locate(node)
        if name in PAIRS:
            return Items(
                {
                    position: self._operation(state, part, args, kwargs, node)
                    for position, part in enumerate(PAIRS[name])
                }
            )
        if (result := self.spelled(state, name, args, kwargs, node)) is not None:
            return result
        plain = canonical(name)
        if plain == "where" and len(args) == 3:
            args = args[1:]
        if role(plain) is Role.ARITHMETIC:
            given = [*([kwargs["input"]] if "input" in kwargs else []), *args]
            given += [kwargs[key] for key in ("other", "exponent") if key in kwargs]
            operands = [self.operand(state, value) for value in given[:2]]
            if name in {"rsub", "__rsub__"}:
                plain = "rsub"
            return self.add(state, plain, [o for o in operands if o is not None], location)
        first = next((v for v in [*args, *kwargs.values()] if isinstance(v, (Tensor, Items))), None)
        index = self.operand(state, first) if first is not None else None
        if role(plain) is Role.OTHER or index is None:
            result = self.opaque_call(state, [*args, *kwargs.values()], node, plain)
            several = name in PARTS or (name in _SEVERAL and len(args) > 1)
            return Items(each=result) if several and isinstance(result, Tensor) else result
        attributes: dict[str, object] = {"over": over(node, len(args) + len(kwargs))}
        if role(plain) is Role.REDUCTION:
            attributes |= reduction_attributes(plain, args, kwargs)
        elif name in CASTS:
            attributes["cast"] = name
        return self.add(state, plain, [index], location, attributes)

    def _construct(self, cls: Class, args: list[Value], kwargs: dict[str, Value]) -> Value:
        instance = Instance(cls)
        if cls.fields and "__init__" not in cls.methods:
            instance.attributes = dict(zip(cls.fields, args, strict=False)) | kwargs
        return instance

"""Statements: run a function of the source text over abstract values, both branches of every choice."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from bnlint.flow.graph import Kind, Mode, Origin
from bnlint.flow.ops import RUNNING
from bnlint.source import syntax
from bnlint.source.assign import Assigner
from bnlint.source.gradmode import grad_switch
from bnlint.source.names import imported
from bnlint.source.once import runs_once
from bnlint.source.parameters import TRAINING_NAMES, is_static, may_be_tensor, parameters
from bnlint.source.record import FlowLost
from bnlint.source.values import (
    Branch,
    Condition,
    Function,
    GradOff,
    Instance,
    Items,
    Literal,
    Name,
    Opaque,
    State,
    Tensor,
    Value,
    rejoin,
)
from bnlint.vocabulary import Word

#: how deep calls of the file's own functions are followed
MAX_DEPTH = 12
#: calls of them after which the flow of one function counts as lost: a program, no layer
MAX_CALLS = 150


class Interpreter(Assigner):
    """Runs functions. One interpreter serves one entry point and fills one graph."""

    frames: tuple[list[tuple[Value, Mode]], ...] = ()
    yielded: tuple[Items, ...] = ()
    active: tuple[syntax.Node, ...] = ()
    calls = 0

    def run(self, function: Function) -> None:
        """Run an entry point: its parameters are inputs, what it returns is the output."""
        state = State({})
        own = parameters(function.node)[1 if function.bound else 0 :]
        args = [self._input(state, parameter) for parameter in own]
        result = self.invoke(state, function, args, {})
        if isinstance(result, Function) and result.node is not function.node:  # made here, to be called later
            made = [self._input(state, parameter) for parameter in parameters(result.node)[1 if result.bound else 0 :]]
            result = self.invoke(state, result, made, {})
        for value in self._tensors(result, 0):
            self.graph.add(Kind.OUTPUT, "output", [value.node])
        if function.bound is not None:
            kept = function.bound.attributes.items()
            self.graph.kept |= {name: tensor.node for name, value in kept for tensor in self._tensors(value, 0)}

    def _input(self, state: State, parameter: syntax.Param) -> Value:
        name = parameter.name.value
        if name in TRAINING_NAMES:
            return Condition(Mode.TRAIN, Mode.EVAL)
        if not may_be_tensor(parameter):
            return Opaque(name)
        kind = Kind.BUFFER if RUNNING.match(name) else Kind.INPUT
        return Tensor(self.graph.add(kind, name, origin=Origin(self.locate(parameter.name), symbol=self.symbol)))

    def _tensors(self, value: Value, depth: int) -> list[Tensor]:
        match value:
            case Tensor():
                return [value]
            case Items() if depth < 4:
                parts = [*value.entries.values(), *([value.each] if value.each is not None else [])]
                return [tensor for part in parts for tensor in self._tensors(part, depth + 1)]
            case Instance() if depth < 4:
                return [tensor for part in value.attributes.values() for tensor in self._tensors(part, depth + 1)]
            case _:
                return []

    def invoke(self, state: State, function: Function, args: list[Value], kwargs: dict[str, Value]) -> Value:
        """Run a function in the state of its caller; what it does to objects stays."""
        if function.node in self.active or len(self.active) >= MAX_DEPTH:
            return Opaque("?")
        before, self.calls = self.calls, self.calls + 1
        needed = before + self.programs.get(function.node, 1)
        if needed > MAX_CALLS:
            self.calls = needed
            raise FlowLost
        variables = dict(function.closure)
        if function.bound is not None and not is_static(function.node):
            args = [function.bound, *args]
        caller = self.scope
        self.enter(caller.homes.get(function.node, caller))
        self.active = (*self.active, function.node)
        try:
            self._bind(variables, function.node, args, kwargs)
            inner = State(variables, state.mode, state.grad_off)
            inner.grad_off = (*inner.grad_off, function.off) if function.off else inner.grad_off
            for decorator in () if isinstance(function.node, syntax.Lambda) else function.node.decorators:
                off = self._grad_off(inner, decorator.decorator, decorator)
                inner.grad_off = (*inner.grad_off, off) if off else inner.grad_off
            if isinstance(function.node, syntax.Lambda):
                return self.evaluate(inner, function.node.body)
            returned, generated = list[tuple[Value, Mode]](), Items()
            self.frames, self.yielded = (*self.frames, returned), (*self.yielded, generated)
            self._suite(inner, function.node.body)
            self.frames, self.yielded = self.frames[:-1], self.yielded[:-1]
            if generated.entries or generated.each is not None:
                return generated
            return self.merge(returned, switch=True) if returned else Literal(None)
        except FlowLost:
            self.programs[function.node] = max(self.programs.get(function.node, 1), self.calls - before)
            raise
        finally:
            self.active = self.active[:-1]
            self.enter(caller)

    def produce(self, state: State, node: syntax.Yield) -> Value:
        """Evaluate a `yield`: what a call of the function yields is a container of the values in order."""
        match node.value:
            case syntax.From(item=item):
                values = self.evaluate(state, item)
                if self.yielded and isinstance(values, Items):
                    self.container_method(self.yielded[-1], "extend", [values], {})
            case syntax.Expression() as item if self.yielded:
                self.container_method(self.yielded[-1], "append", [self.evaluate(state, item)], {})
        return Opaque("?")

    def _bind(
        self,
        variables: dict[str, Value],
        node: syntax.FunctionDef | syntax.Lambda,
        args: list[Value],
        kwargs: dict[str, Value],
    ) -> None:
        positional = [*node.params.posonly_params, *node.params.params]
        for parameter, value in zip(positional, args, strict=False):
            variables[parameter.name.value] = value
        rest = args[len(positional) :]
        if isinstance(node.params.star_arg, syntax.Param):
            variables[node.params.star_arg.name.value] = Items(dict(enumerate(rest)))
        names = {parameter.name.value for parameter in parameters(node)}
        variables |= {name: value for name, value in kwargs.items() if name in names}
        if node.params.star_kwarg is not None:
            extra: dict[object, Value] = {name: value for name, value in kwargs.items() if name not in names}
            variables[node.params.star_kwarg.name.value] = Items(extra)
        for parameter in parameters(node):
            if parameter.name.value not in variables:
                default = parameter.default
                value = self.evaluate(State({}), default) if default is not None else Opaque(parameter.name.value)
                variables[parameter.name.value] = value

    # -- statements

    def _suite(self, state: State, body: syntax.Block) -> None:
        self._block(state, body.body)

    def _block(self, state: State, statements: Sequence[syntax.Statement]) -> None:
        for statement in statements:
            if not state.mode:
                return
            self._statement(state, statement)

    def _statement(self, state: State, node: syntax.Statement) -> None:
        match node:
            case syntax.Assign(targets=targets, value=value):
                result = self.evaluate(state, value)
                for target in targets:
                    self.assign(state, target.target, result, value)
            case syntax.AnnAssign(target=target, value=value) if value is not None:
                self.assign(state, target, self.evaluate(state, value), value)
            case syntax.AugAssign():
                self._augmented(state, node)
            case syntax.Expr(value=value) | syntax.Assert(test=value):
                self.evaluate(state, value)
            case syntax.Return(value=value):
                result = Literal(None) if value is None else self.evaluate(state, value)
                if not (isinstance(result, Literal) and result.value is None):
                    self.frames[-1].append((result, state.mode))
                state.mode = Mode(0)
            case syntax.Raise():
                state.mode = Mode(0)
            case syntax.If():
                self._if(state, node)
            case syntax.For():
                self._for(state, node)
            case syntax.While(body=body):
                once = state.fork(Mode.BOTH)
                self._suite(once.state, body)
                rejoin(state, [once, state.fork(Mode.BOTH)], self.merge)
            case syntax.With():
                self._with(state, node)
            case syntax.Try():
                self._try(state, node)
            case syntax.FunctionDef(name=syntax.Name(value=name)):
                self.scope.homes[node] = self.scope
                state.variables[name] = Function(node, state.variables)
            case syntax.Import() | syntax.ImportFrom():
                state.variables |= imported(node)
            case syntax.Match(cases=cases):
                branches = [state.fork(Mode.BOTH) for _ in cases]
                for branch, case in zip(branches, cases, strict=True):
                    self._suite(branch.state, case.body)
                rejoin(state, [*branches, state.fork(Mode.BOTH)], self.merge)
            case _:
                return

    def _for(self, state: State, node: syntax.For) -> None:
        values = self.evaluate(state, node.iter)
        if isinstance(values, Items) and self.known(values):
            for value in self.elements(values):
                if state.mode:
                    self.assign(state, node.target, value, node.iter)
                    self._suite(state, node.body)
            return
        once = state.fork(Mode.BOTH)
        self.assign(once.state, node.target, self.element(once.state, values), node.iter)
        self._suite(once.state, node.body)
        rejoin(state, [once, state.fork(Mode.BOTH)], self.merge)

    def _if(self, state: State, node: syntax.If) -> None:
        condition = self.condition(self.evaluate(state, node.test))
        if runs_once(node):
            condition = Condition(Mode(0), condition.false)  # the steps that train come after it
        branches: list[Branch] = []
        if condition.true & state.mode:
            branches.append(state.fork(condition.true))
            self._suite(branches[-1].state, node.body)
        if condition.false & state.mode:
            branches.append(state.fork(condition.false))
            match node.orelse:
                case syntax.If():
                    self._if(branches[-1].state, node.orelse)
                case syntax.Else(body=body):
                    self._suite(branches[-1].state, body)
        if branches:
            rejoin(state, branches, functools.partial(self.merge, switch=condition == Condition()))
        else:
            state.mode = Mode(0)

    def _with(self, state: State, node: syntax.With) -> None:
        before = state.grad_off
        for item in node.items:
            off = self._grad_off(state, item.item, item)
            if off is not None:
                state.grad_off = (*state.grad_off, off)
                continue
            value = self.evaluate(state, item.item)
            if isinstance(item.item, syntax.Call) and isinstance(value, Opaque):
                called = self.evaluate(state, item.item.func)
                if isinstance(called, Name) and called.path.endswith((".enable_grad", ".set_grad_enabled")):
                    state.grad_off = (*state.grad_off, None)
            if item.asname is not None:
                self.assign(state, item.asname.name, value, item.item)
        self._suite(state, node.body)
        state.grad_off = before

    def _grad_off(self, state: State, expression: syntax.Expression, where: syntax.Node) -> GradOff | None:
        args: list[Value] = []
        if isinstance(expression, syntax.Call):
            args = [self.evaluate(state, argument.value) for argument in expression.args]
            expression = expression.func
        if not isinstance(expression, (syntax.Name, syntax.Attribute)):
            return None
        switch = self.evaluate(state, expression)
        kind = grad_switch(switch, args)
        return GradOff(kind, self.locate(where), switch if isinstance(switch, Word) else None) if kind else None

    def _try(self, state: State, node: syntax.Try) -> None:
        tried = state.fork(Mode.BOTH)
        self._suite(tried.state, node.body)
        if node.orelse is not None:
            self._suite(tried.state, node.orelse.body)
        branches = [tried]
        for handler in node.handlers:
            branches.append(state.fork(Mode.BOTH))
            self._suite(branches[-1].state, handler.body)
        rejoin(state, branches, self.merge)
        if node.finalbody is not None:
            self._suite(state, node.finalbody.body)

    def _augmented(self, state: State, node: syntax.AugAssign) -> None:
        old, new = self.evaluate(state, node.target), self.evaluate(state, node.value)
        name = node.operator
        if isinstance(old, Tensor) and (buffer := self.state_of(state, old)) is not None:
            operand = self.operand(state, new)
            content = self.updated(buffer, old, name, [] if operand is None else [operand], state.mode)
            if isinstance(new, Tensor):
                self.store(state, buffer, new, self.locate(node.value), content, around=self.left_autograd(old))
            return
        self.assign(state, node.target, self.arithmetic(state, name, old, new, node), node.value)

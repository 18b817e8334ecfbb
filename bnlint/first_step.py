"""`bnlint.watch`: checks the first training step of the user's own loop, and is gone after it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import nn

from bnlint.errors import CaptureWarning, GradientWarning, UsageError
from bnlint.finding import Finding
from bnlint.model.callers import of_user, require_module
from bnlint.model.capture import is_plain_run
from bnlint.model.check import judged
from bnlint.model.layers import find_layers
from bnlint.model.ranks import rank
from bnlint.model.state import first_line
from bnlint.report.sentences import by_harm, told, wrong


def watch(model: nn.Module, *, on_findings: Literal["warn", "raise"] = "warn") -> Watch:
    """Check the first training step of a model in your own loop, on its own inputs, and then cost nothing more.

    When the model is first called in training mode and with gradients, it is measured on these inputs before it goes
    on, as `check_model` does; autocast holds as it is. The model, its gradients and all random states are left exactly
    as found: the step itself, and all that follow, are the same numbers as without a check. With several processes,
    watch the model in each of them.

    Args:
        model: The model that the loop calls: compiled, in `DistributedDataParallel` or as it is.
        on_findings: "warn" tells what is wrong as a `GradientWarning`, and what could not be checked as a
            `CaptureWarning`; "raise" stops the training with an AssertionError, or with what went wrong with the check.

    Returns:
        A handle, which is also a context manager: `with bnlint.watch(model): train(model)`.
    """
    return Watch(model, on_findings)


class Watch:
    """A check that waits for the first training step.

    Attributes:
        findings: What was found, notes included, the most harmful first; None as long as nothing was checked.
    """

    def __init__(self, model: nn.Module, on_findings: Literal["warn", "raise"] = "warn") -> None:
        if on_findings not in ("warn", "raise"):
            raise UsageError(f'on_findings is "warn" or "raise", not {on_findings!r}')
        require_module(model)
        self.findings: list[Finding] | None = None
        self._raises = on_findings == "raise"
        self._model = model
        self._detach: Callable[[], None] | None = self._attached()

    @property
    def waiting(self) -> bool:
        """Whether the first training step is still to come."""
        return self._detach is not None

    def remove(self) -> None:
        """Stop waiting. It is called after the first training step, and does nothing when called again."""
        if self._detach is not None:
            self._detach()
            self._detach = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.waiting and error is None:
            what = f"{type(self._model).__name__} was not called in training mode, so nothing was checked"
            warnings.warn(what, CaptureWarning, stacklevel=2)
        self.remove()

    def _attached(self) -> Callable[[], None]:
        compiled = vars(self._model).get("_compiled_call_impl")
        if compiled is None:
            hook = self._model.register_forward_pre_hook(self._before, prepend=True, with_kwargs=True)
            return hook.remove

        def call(*args: Any, **kwargs: Any) -> Any:
            self._before(self._model, args, kwargs)
            return compiled(*args, **kwargs)

        # `model.compile()` would compile a hook into the model, where it stays.
        self._model._compiled_call_impl = call
        return lambda: setattr(self._model, "_compiled_call_impl", compiled)

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if torch.compiler.is_compiling() or is_plain_run() or not (module.training and torch.is_grad_enabled()):
            return
        self.remove()
        try:
            self.findings = by_harm(_check(_bare(self._model), args, kwargs))
        except Exception as error:  # whatever it is, in "warn" the training goes on
            if self._raises:
                raise
            what = f"the first training step could not be checked: {first_line(error) or type(error).__name__}"
            warnings.warn(what, CaptureWarning, stacklevel=of_user())
            return
        findings = wrong(self.findings)
        text = told(findings, type(_bare(self._model)).__name__) if findings else ""
        if findings and self._raises:
            raise AssertionError(text)
        if findings and rank() == 0:  # the first process speaks for all
            warnings.warn(text, GradientWarning, stacklevel=of_user())


def _check(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Finding]:
    """Check a model; what is frozen in this step does not count."""
    flags = {path: module.training for path, module in model.named_modules()}
    return judged([layer for layer in find_layers(model, args, kwargs) if _flag(flags, layer.path)])


def _flag(flags: Mapping[str, bool], path: str) -> bool:
    while path not in flags:  # a part of a graph that is no module
        path = path.rpartition(".")[0]
    return flags[path]


def _bare(model: nn.Module) -> nn.Module:
    """Take a model out of what compiles it, and out of DDP, which expects a backward after each call."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := model._modules.get("_orig_mod"), nn.Module):
            model = inner
        else:
            return model

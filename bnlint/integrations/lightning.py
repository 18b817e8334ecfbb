"""A callback of Lightning that checks the first training step."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from bnlint.errors import CaptureWarning
from bnlint.finding import Finding
from bnlint.first_step import Watch, watch
from bnlint.report.sentences import by_harm


class GradientCheck(Callback):
    """Checks the first training step as `bnlint.watch` does: `Trainer(callbacks=[GradientCheck()])`.

    The module is checked as a whole where its `training_step` calls it (`self(x)`). Where it does not, or the strategy
    wraps the module, each of its parts that is trained is checked on its own, in the step after.

    Args:
        on_findings: As for `bnlint.watch`: "warn", or "raise" to stop the training.
    """

    def __init__(self, on_findings: Literal["warn", "raise"] = "warn") -> None:
        self._on_findings: Literal["warn", "raise"] = on_findings
        self._watches: list[Watch] = []
        self._whole = False

    @property
    def findings(self) -> list[Finding] | None:
        """What was found, the most harmful first; None as long as nothing was checked."""
        found = [each.findings for each in self._watches if each.findings is not None]
        return by_harm(finding for findings in found for finding in findings) if found else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the first step."""
        self._whole = trainer.model is pl_module  # a wrapped module's forward stands for its training_step
        self._watch([pl_module] if self._whole else _parts(pl_module))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Leave after the first step, or after the second if the first one did not call the module itself."""
        waiting = [each for each in self._watches if each.waiting]
        for each in waiting:
            each.remove()
        if not self._watches or len(waiting) < len(self._watches):
            return
        self._watches = []
        if self._whole:
            self._whole = False
            self._watch(_parts(pl_module))
        else:
            what = f"no part of {type(pl_module).__name__} was called in training mode, so nothing was checked"
            warnings.warn(what, CaptureWarning, stacklevel=2)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the module as it was."""
        for each in self._watches:
            each.remove()

    def _watch(self, modules: Iterable[nn.Module]) -> None:
        self._watches = [watch(module, on_findings=self._on_findings) for module in modules]


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the parts that are trained and can be called; losses and metrics have nothing to train."""
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from _parts(child)
        elif any(parameter.requires_grad for parameter in child.parameters()):
            yield child

"""A callback of Hugging Face's `Trainer` that checks the first training step."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bnlint.finding import Finding
from bnlint.first_step import Watch, watch


class GradientCheck(TrainerCallback):
    """Checks the first training step as `bnlint.watch` does: `Trainer(model, args, callbacks=[GradientCheck()], ...)`.

    Args:
        on_findings: As for `bnlint.watch`: "warn", or "raise" to stop the training.
    """

    def __init__(self, on_findings: Literal["warn", "raise"] = "warn") -> None:
        self._on_findings: Literal["warn", "raise"] = on_findings
        self._watch: Watch | None = None

    @property
    def findings(self) -> list[Finding] | None:
        """What was found, the most harmful first; None as long as nothing was checked."""
        return self._watch.findings if self._watch else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module, **kwargs: Any
    ) -> None:
        """Wait for the first step."""
        self._watch = watch(model, on_findings=self._on_findings)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say so if there was none."""
        if self._watch:
            self._watch.__exit__(None, None, None)

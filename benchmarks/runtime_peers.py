"""What tools that run a layer say about it, as codes: those that object to it, and not to torch's own layer as well.

Each tool is asked only where it is installed beside torch.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
from collections.abc import Callable, Iterator
from importlib.metadata import version

import torch
from torch import nn

import bnlint

Asked = Callable[[nn.Module, torch.Tensor], set[str]]


def bnlint_measures(layer: nn.Module, x: torch.Tensor) -> set[str]:
    return {f.code for f in bnlint.check_model(layer, x) if f.severity is not bnlint.Severity.NOTE}


def gradcheck_fails(layer: nn.Module, x: torch.Tensor) -> set[str]:
    same = torch.autograd.gradcheck(layer, (x.requires_grad_(),), raise_exception=False)
    return set() if same else {"yes"}


def torchtest2_fails(layer: nn.Module, x: torch.Tensor) -> set[str]:
    from torchtest2 import check_model

    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1) if list(layer.parameters()) else None
    report = check_model(
        layer, x, torch.randn_like(layer(x)), loss_fn=nn.MSELoss(), optimizer=optimizer, gradcheck=True
    )
    return {check.name for check in (*report.failures, *report.warnings)}


def torch_audit_finds(layer: nn.Module, x: torch.Tensor) -> set[str]:
    """Audit one training step, in all phases that the tool has."""
    from torch_audit import audit_dynamic

    parameters = list(layer.parameters()) or [nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    with audit_dynamic(layer, optimizer=optimizer, every_n_steps=1, reporters=[]) as auditor:
        out = auditor.forward(x)
        loss = (out * torch.randn_like(out)).sum()
        if loss.requires_grad:
            auditor.backward(loss)
            auditor.optimizer_step()
    return {finding.rule_id for finding in auditor.finish(report=False).findings}


def opacus_refuses(layer: nn.Module, _: torch.Tensor) -> set[str]:
    from opacus.validators import ModuleValidator

    return {type(error).__name__ for error in ModuleValidator.validate(layer, strict=False)}


def conversion_replaces(layer: nn.Module, _: torch.Tensor) -> set[str]:
    """Convert to `SyncBatchNorm`, which takes a subclass for a batch normalization and drops its own forward."""
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(layer))
    return {"replaced"} if type(converted) is not type(layer) else set()


def runtime_tools() -> Iterator[tuple[str, Asked]]:
    """Yield the tools that are installed, by name."""
    yield "bnlint, measured", bnlint_measures
    yield f"gradcheck of torch {torch.__version__}", gradcheck_fails
    others = {"torchtest2": torchtest2_fails, "torch_audit": torch_audit_finds, "opacus": opacus_refuses}
    for package, asked in others.items():
        if importlib.util.find_spec(package) is not None:
            name = f"{package.replace('_', '-')} {version(package.replace('_', '-'))}"
            yield f"{name}{' validator' * (package == 'opacus')}", _beyond_native(asked)
    yield "convert_sync_batchnorm", conversion_replaces


def _beyond_native(asked: Asked) -> Asked:
    """Leave out what a tool says of torch's own batch normalization as well."""

    def beyond(layer: nn.Module, x: torch.Tensor) -> set[str]:
        native = (nn.LazyBatchNorm1d, nn.LazyBatchNorm1d, nn.LazyBatchNorm2d)[x.dim() - 2]().to(x.dtype)
        native(x)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return asked(layer, x.clone()) - asked(native, x.clone())

    return beyond

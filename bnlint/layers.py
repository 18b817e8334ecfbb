"""The classes that repaired layers have where torch has none for them.

A checkpoint that was repaired may hold these: names and arguments are stable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlint.operations import operation

#: the version of torch's batch normalization that has a counter
_COUNTED = 2


class FusedBatchNorm(_BatchNorm):
    """Batch normalization on `torch.nn.functional.batch_norm`, with the conventions of the layer it stands for.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of the newest batch in the running statistics; None for a cumulative average.
        affine: Whether there are `weight` and `bias`, of shape (C,).
        track_running_stats: Whether there are running statistics.
        unbiased: Whether the variance of the batch is divided by n - 1 (torch: n), n values per channel.
        batch_statistics_in_eval: Whether evaluation too normalizes by the statistics of the batch.
        updates_running_statistics: Whether training updates the running statistics.
        biased_running_variance: Whether the running variance collects the biased variance (torch: the unbiased).
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        unbiased: bool = False,
        batch_statistics_in_eval: bool = False,
        updates_running_statistics: bool = True,
        biased_running_variance: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.unbiased = unbiased
        self.batch_statistics_in_eval = batch_statistics_in_eval
        self.updates_running_statistics = updates_running_statistics
        self.biased_running_variance = biased_running_variance

    def forward(self, input: Tensor) -> Tensor:
        """Normalize a tensor of shape (N, C, ...)."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if not self.training and not self.batch_statistics_in_eval and self.running_mean is not None:
            return F.batch_norm(input, self.running_mean, self.running_var, *self._flat(), False, 0.0, self.eps)
        (weight, bias), eps = self._flat(), self.eps
        kept = 1.0
        count = input.numel() // input.size(1)
        if self.unbiased:
            # (x - m) / sqrt(n/(n-1) v + eps) = sqrt(k) (x - m) / sqrt(v + k eps) with k = (n-1)/n, v biased.
            kept = (count - 1) / count
            like = input if self.running_mean is None else self.running_mean  # of one type, where the input is narrower
            weight = like.new_full((input.size(1),), kept**0.5) if weight is None else weight * kept**0.5
            eps = self.eps * kept
        if not (self.training and self.updates_running_statistics and self.running_mean is not None):
            return F.batch_norm(input, None, None, weight, bias, True, 0.0, eps)
        momentum = self._momentum()
        if self.running_var is None or not self.biased_running_variance:
            return F.batch_norm(input, self.running_mean, self.running_var, weight, bias, True, momentum, eps)
        # The operator adds the unbiased variance to what it is given, and keeps that tensor for the backward.
        added = torch.zeros_like(self.running_var)
        output = F.batch_norm(input, self.running_mean, added, weight, bias, True, momentum, eps)
        with torch.no_grad():
            self.running_var.mul_(1 - momentum).add_(added, alpha=(count - 1) / count)
        return output

    def _flat(self) -> tuple[Tensor | None, Tensor | None]:
        """Return weight and bias as the operator takes them; a layer may hold them shaped (1, C, 1, 1)."""
        weight, bias = self.weight, self.bias
        return None if weight is None else weight.reshape(-1), None if bias is None else bias.reshape(-1)

    def _momentum(self) -> float:
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if self.momentum is not None:
            return self.momentum
        return 0.0 if self.num_batches_tracked is None else 1.0 / float(self.num_batches_tracked)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *others: Any) -> None:
        """Load a state dict, to which torch's own classes would add a counter also where there is none to load it."""
        if not saves_counter(self):
            nn.Module._load_from_state_dict(self, state_dict, prefix, local_metadata, *others)
        else:
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)

    def extra_repr(self) -> str:
        """Say which conventions differ from torch's."""
        names = ("unbiased", "batch_statistics_in_eval", "biased_running_variance")
        kept = [name for name in names if getattr(self, name)]
        kept += [] if self.updates_running_statistics else ["updates_running_statistics=False"]
        return ", ".join([super().extra_repr(), *kept])  # type: ignore[no-untyped-call]


def saves_counter(layer: nn.Module) -> bool:
    """Whether a batch normalization of torch's, or one of its kind, has a counter of batches in its state dict."""
    return layer.num_batches_tracked is not None and "num_batches_tracked" not in layer._non_persistent_buffers_set


def load_uncounted(module: nn.Module, state_dict: Any, prefix: str, local_metadata: Any, *_: Any) -> None:
    """Let a layer of torch's own class that counts no batches load a state dict in which none are counted.

    Its class adds a counter to one that it takes for older than the counter, and then does not expect it. This is a
    hook (`register_load_state_dict_pre_hook`).
    """
    version = local_metadata.get("version")
    if not saves_counter(module) and (version is None or version < _COUNTED):
        state_dict.pop(f"{prefix}num_batches_tracked", None)


class FusedBatchNorm1d(FusedBatchNorm, nn.BatchNorm1d):
    """For inputs of shape (N, C) or (N, C, L)."""


class FusedBatchNorm2d(FusedBatchNorm, nn.BatchNorm2d):
    """For inputs of shape (N, C, H, W)."""


class FusedBatchNorm3d(FusedBatchNorm, nn.BatchNorm3d):
    """For inputs of shape (N, C, D, H, W)."""


#: what a layer does under `no_grad`, if that is something else, is kept for its mode with this behind
WITHOUT_GRADIENTS = " without gradients"


class UnstoppedNorm(nn.Module):
    """A normalization as its author wrote it, operation by operation, without the stops of its statistics.

    It holds what the layer held (parameters, buffers, hooks, plain attributes), and what the layer did as lists of
    plain values, so that it is saved and loaded without the layer's own code. Whatever such a list says, only
    operations on tensors are run (see `operations`).

    Attributes:
        stands_for: The class that it stands for.
        process_group: The processes that share statistics, None for all or where none are shared.
        arguments: For each argument of a call its name, and the one value that it may have, in a list; None for a
            tensor.
        programs: For "train" and "eval", and for each under `no_grad` where that matters: the rank of each input, the
            steps, the stores and the output. A step is the name of an operation, its arguments, its keyword arguments,
            and whether it records a gradient; its result is the next value after the inputs. A store is the name of an
            attribute and a value.
        others: Programs for inputs of other ranks.
    """

    stands_for: str
    process_group: Any = None
    arguments: list[tuple[str, list[Any] | None]]
    programs: dict[str, tuple[list[int], list[Any], list[Any], Any]]
    others: Sequence[dict[str, tuple[list[int], list[Any], list[Any], Any]]] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the layer did, with gradients through its statistics."""
        values = self._given(args, kwargs)
        steps, stores, output = self._program([tensor.dim() for tensor in values])
        for name, given, named, recorded in steps:
            positional = [self._value(item, values) for item in given]
            keywords = {key: self._value(item, values) for key, item in named.items()}
            if recorded:
                values.append(operation(name)(*positional, **keywords))
            else:
                with torch.no_grad():
                    values.append(operation(name)(*positional, **keywords))
        for name, item in stores:
            self._store(name, self._value(item, values))
        return self._value(output, values)

    def _program(self, ranks: list[int]) -> tuple[list[Any], list[Any], Any]:
        """Return steps, stores and output for inputs of these ranks."""
        mode = "train" if self.training else "eval"
        if mode + WITHOUT_GRADIENTS in self.programs and not torch.is_grad_enabled():
            mode += WITHOUT_GRADIENTS
        for programs in (self.programs, *self.others):
            known, steps, stores, output = programs[mode]
            if known == ranks:
                return steps, stores, output
        told = ", ".join(str(programs[mode][0]) for programs in (self.programs, *self.others))
        what = f"{self.stands_for} was repaired for inputs of {told} dimensions, and gets {ranks}"
        raise RuntimeError(f"{what}: repair it again on such inputs, with --input")

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Sort the arguments of a call, which must be those that the layer was repaired for."""
        usual = dict(self.arguments)
        given = {**dict(zip(usual, args, strict=False)), **kwargs}  # torch 2.6 compiles no `|`
        tensors = [name for name, fixed in usual.items() if fixed is None]
        others = [name for name in given if name not in tensors and usual.get(name) != [given[name]]]
        if len(args) > len(usual) or others or not all(isinstance(given.get(name), Tensor) for name in tensors):
            raise TypeError(f"{self.stands_for} was repaired for calls with {', '.join(tensors)} and nothing else")
        return [given[name] for name in tensors]

    def _value(self, item: Any, values: list[Any]) -> Any:
        """Make an argument: a tuple says what it is, anything else is itself."""
        if not isinstance(item, tuple):
            return item
        kind, *parts = item
        if kind == "value":
            return values[parts[0]]
        if kind == "self":
            return self._held(parts[0])
        if kind == "dtype":
            return _dtype(parts[0]) if parts else next(v.dtype for v in values if v.is_floating_point())
        if kind == "own dtype":
            return next(tensor.dtype for tensor in (*self.buffers(), *self.parameters()) if tensor.is_floating_point())
        if kind == "device":
            return values[0].device
        if kind == "group":
            return self.process_group
        if kind == "ellipsis":
            return ...
        made = [self._value(part, values) for part in parts]
        return dict(zip(made[::2], made[1::2], strict=True)) if kind == "dict" else _MADE[kind](made)

    def _held(self, name: str) -> Any:
        """Return a tensor that the layer holds."""
        path, _, attribute = name.rpartition(".")
        found = getattr(self.get_submodule(path), attribute, None)
        if not isinstance(found, Tensor):
            raise RuntimeError(f"{self.stands_for} has no tensor `{name}` any more")
        return found

    def _store(self, name: str, value: Tensor) -> None:
        path, _, attribute = name.rpartition(".")
        setattr(self.get_submodule(path), attribute, value)

    def extra_repr(self) -> str:
        """Name the class that it stands for."""
        return self.stands_for


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):  # the name may come out of a hostile checkpoint
        raise RuntimeError(f"`{name}` is no dtype")
    return found


_MADE: dict[str, Callable[[list[Any]], Any]] = {"list": list, "tuple": tuple, "slice": lambda parts: slice(*parts)}

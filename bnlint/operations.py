"""The operations that a rewritten layer may run, by name: arithmetic on tensors and on sizes, sums over processes.

None of them reads or writes files, runs code, or reaches anything but its arguments, for the names may come out of a
hostile checkpoint.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

_TORCH = (
    "abs add addcdiv addcmul amax amin as_tensor bmm broadcast_to cat clamp clip concat cumsum diff div divide "
    "einsum empty empty_like exp eye flatten full full_like lerp log log1p logsumexp matmul max maximum mean "
    "median min minimum mm movedim mul multiply nan_to_num neg norm numel ones ones_like permute pow prod "
    "rand_like reciprocal relu reshape rsqrt rsub sigmoid sign softmax split sqrt square squeeze stack std "
    "std_mean sub subtract sum swapaxes t tanh tensor tensordot transpose true_divide unbind unsqueeze var var_mean "
    "where zeros zeros_like"
)
_FUNCTIONAL = (
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d avg_pool1d avg_pool2d avg_pool3d batch_norm celu "
    "dropout elu gelu glu group_norm hardsigmoid hardswish hardtanh instance_norm layer_norm leaky_relu linear "
    "log_softmax mish normalize pad prelu relu relu6 rms_norm selu sigmoid silu softmax softplus softsign tanh "
    "tanhshrink"
)
_METHODS = (
    "__add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ __truediv__ __rtruediv__ "
    "__itruediv__ __pow__ __rpow__ __ipow__ __neg__ __abs__ __getitem__ __matmul__ __rmatmul__ __eq__ __ne__ "
    "__lt__ __le__ __gt__ __ge__ __rdiv__ __float__ abs add add_ addcdiv addcdiv_ addcmul addcmul_ amax amin "
    "bfloat16 broadcast_to chunk clamp clamp_ clamp_max clamp_min clip clone contiguous copy_ cpu cuda cumsum "
    "detach diff div div_ divide double exp expand expand_as fill_ flatten float half index_select item lerp "
    "lerp_ log log1p logsumexp masked_fill matmul max mean median min movedim mul mul_ multiply nan_to_num narrow "
    "neg new_empty new_full new_ones new_zeros norm numel permute pow pow_ prod reciprocal reciprocal_ relu relu_ "
    "repeat reshape rsqrt rsqrt_ select sigmoid sign size softmax split sqrt sqrt_ square squeeze std sub sub_ "
    "subtract sum t tanh to transpose true_divide type_as unbind unflatten unsqueeze var view view_as where zero_"
)
_PROPERTIES = "T data mT"
_NUMBERS = "add eq floordiv ge getitem gt le lt mod mul ne neg pow sub truediv"


def set_item(tensor: Tensor, index: Any, value: Any) -> Tensor:
    """Store into a tensor, and return it."""
    tensor[index] = value
    return tensor


def same(tensor: Tensor, *_: Any) -> Tensor:
    """Return a tensor, which another operation changed meanwhile."""
    return tensor


class SizeError(RuntimeError):
    """A layer gets an input of a size for which it was not rewritten."""


def world_size(group: Any = None) -> int:
    """Return how many processes there are, in all or in a group."""
    together = dist.is_available() and dist.is_initialized()
    return dist.get_world_size(group) if together else 1


def all_reduced(tensor: Tensor, average: bool = False, group: Any = None) -> Tensor:
    """Return the sum, or the mean, of a tensor over all processes or those of a group.

    Its gradient is that of the losses of them all.
    """
    if world_size(group) == 1:
        return tensor.clone()
    total: Tensor = _AllReduced.apply(tensor, group)
    return total / world_size(group) if average else total


class _AllReduced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        ctx.group = group
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total, None


def expect(value: object, expected: bool) -> None:
    """Hold a layer to the sizes that it was rewritten for.

    Raises:
        SizeError: A comparison of sizes comes out in another way, so the original layer might do something else.
    """
    if bool(value) is not expected:
        told = "this layer was not repaired for an input of this size"
        raise SizeError(f"{told}: correct its source, bnlint fix FILE.py")


def _operations() -> dict[str, Callable[..., Any]]:
    own: list[Callable[..., Any]] = [set_item, same, expect, all_reduced, world_size]
    table = {function.__name__: function for function in own}
    for kind, owner, names in (
        ("torch", torch, _TORCH),
        ("functional", F, _FUNCTIONAL),
        ("method", Tensor, _METHODS),
        ("number", operator, _NUMBERS),
    ):
        table |= {f"{kind}.{name}": getattr(owner, name) for name in names.split() if hasattr(owner, name)}
    return table | {f"property.{name}": operator.attrgetter(name) for name in _PROPERTIES.split()}


#: every operation by its name
OPERATIONS: Mapping[str, Callable[..., Any]] = _operations()
#: the name of every function among them
NAMES: Mapping[Any, str] = {function: name for name, function in OPERATIONS.items()}


def operation(name: str) -> Callable[..., Any]:
    """Return an operation.

    Raises:
        RuntimeError: No layer may run it.
    """
    if name not in OPERATIONS:
        raise RuntimeError(f"`{name}` is no operation of a repaired layer")
    return OPERATIONS[name]

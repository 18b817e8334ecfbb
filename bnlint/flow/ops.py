"""The canonical operation names of a FlowGraph, and what each does to a statistic that passes through it.

Both front ends translate into these names, so that the analysis knows one spelling of each operation: `x - y`,
`torch.sub(x, y)`, `x.sub(y)` and `x.sub_(y)` are all `sub`.
"""

from __future__ import annotations

import re
from enum import Enum


class Role(Enum):
    """What an operation does, as far as statistics are concerned."""

    REDUCTION = "reduction"  # makes a statistic
    SHAPE = "shape"  # the same values in another layout, type or place
    PART = "part"  # some of the values, as they are: another tensor
    POINTWISE = "pointwise"  # element by element, one tensor
    ARITHMETIC = "arithmetic"  # element by element, two tensors
    OTHER = "other"  # everything that mixes or replaces values: the flow of a statistic ends there


_REDUCTIONS = {
    "mean": "mean nanmean",
    "sum": "sum nansum",
    "median": "median nanmedian",
    "max": "max amax",
    "min": "min amin",
    "quantile": "quantile nanquantile",
    "logsumexp": "logsumexp",
    "var": "var",
    "std": "std",
    "norm": "norm vector_norm matrix_norm linalg_vector_norm linalg_norm linalg_matrix_norm",
}
_ARITHMETIC = {
    "add": "add __add__ __radd__ __iadd__",
    "sub": "sub subtract __sub__ __isub__",
    "rsub": "rsub __rsub__",
    "mul": "mul multiply __mul__ __rmul__ __imul__",
    "div": "div divide true_divide __truediv__ __itruediv__ __div__ __idiv__",
    "rdiv": "__rtruediv__ __rdiv__",
    "pow": "pow __pow__ __ipow__",
    "where": "where maximum minimum",
}
_POINTWISE = {
    "square": "square",
    "sqrt": "sqrt",
    "rsqrt": "rsqrt",
    "reciprocal": "reciprocal",
    "neg": "neg negative __neg__",
    "abs": "abs absolute __abs__",
    "clamp": "clamp clamp_min clamp_max clip nan_to_num",
    "exp": "exp",
    "log": "log",
}
_SHAPE = (
    "view reshape unsqueeze squeeze expand expand_as broadcast_to view_as reshape_as permute transpose movedim "
    "swapaxes flatten unflatten clone contiguous to float double half bfloat16 type type_as getitem __getitem__ repeat "
    "repeat_interleave tile cpu cuda alias swapdims requires_grad_ as_tensor asarray array "
    "ascontiguousarray from_dlpack all_reduced copy T mT H mH"
)

#: shape operations that keep the layout: the same values at the same places
CASTS = frozenset(
    {"clone", "contiguous", "to", "float", "double", "half", "bfloat16", "type", "type_as", "cpu", "cuda", "alias"}
)

#: every spelling of a reduction
REDUCTIONS = frozenset(alias for aliases in _REDUCTIONS.values() for alias in aliases.split())

#: reductions that center or scale, as the text uses them
EXTREMES = frozenset({"max", "min"})

#: pooling functions → the reduction that they are when they leave one value per channel
POOLS: dict[str, str] = {
    f"{adaptive}{kind}_pool{n}d": reduction
    for adaptive in ("", "adaptive_")
    for kind, reduction in (("avg", "mean"), ("max", "max"))
    for n in (1, 2, 3)
}

#: methods that sum values into places of a tensor of zeros
SCATTERING = frozenset({"index_add", "index_add_", "scatter_add", "scatter_add_"})

#: functions whose arguments decide which reduction they are
SPELLED = frozenset({"einsum", "reduce"}) | SCATTERING

#: functions that return two statistics → their canonical names, in order
PAIRS: dict[str, tuple[str, str]] = {"var_mean": ("var", "mean"), "std_mean": ("std", "mean")}

#: methods that return parts of a tensor, each another tensor
PARTS = frozenset({"chunk", "split", "unbind", "tensor_split", "unsafe_chunk", "unsafe_split"})

#: functions that put several tensors together, element by element or side by side; lowered as `where`
JOINING = frozenset({"stack", "cat", "concat", "concatenate", "hstack", "vstack", "addcmul", "addcdiv", "lerp"})

#: the reduction of which only this is known: a project declares it to be one; no method can have this name
DECLARED = "declared statistic"

#: canonical name → role
ROLES: dict[str, Role] = {
    **dict.fromkeys((*_REDUCTIONS, DECLARED), Role.REDUCTION),
    **dict.fromkeys(_ARITHMETIC, Role.ARITHMETIC),
    **dict.fromkeys(_POINTWISE, Role.POINTWISE),
    "reshape": Role.SHAPE,
    "part": Role.PART,
}

_CANONICAL: dict[str, str] = {
    alias: name
    for table in (_REDUCTIONS, _ARITHMETIC, _POINTWISE)
    for name, aliases in table.items()
    for alias in aliases.split()
} | dict.fromkeys(_SHAPE.split(), "reshape")

#: functions and methods that stop the gradient by themselves → the kind of stop
STOPS: dict[str, str] = {
    "detach": "detach",
    "detach_": "detach",
    "data": "data",
    "stop_gradient": "detach",
    "item": "item",
    "tolist": "tolist",
    "numpy": "numpy",
    "__float__": "float",
    "__int__": "float",
    "__array__": "numpy",
    "tensor": "tensor",
    "to_dlpack": "tensor",
    "new_tensor": "tensor",
    "from_numpy": "numpy",
    "Variable": "tensor",
    "FloatTensor": "tensor",
    "DoubleTensor": "tensor",
}

#: context managers, decorators and calls that turn the recording of gradients off → the kind of stop
GRAD_OFF: dict[str, str] = {"no_grad": "no_grad", "inference_mode": "inference_mode", "set_grad_enabled": "no_grad"}

#: collectives that overwrite their tensor: autograd sees nothing of what other processes added
COLLECTIVES = frozenset({"all_reduce", "reduce", "broadcast", "all_gather"})
#: those of them that write what they get into a list
GATHERING = frozenset({"all_gather"})

#: names of arguments and attributes that hold running statistics
RUNNING = re.compile(r"(running|moving|ema)_")

#: operations whose result never carries a gradient
_NOT_DIFFERENTIABLE = (
    "argmax argmin argsort eq ne gt ge lt le isnan isinf isfinite size numel dim floor_divide zeros_like ones_like "
    "full_like empty_like rand_like randn_like zeros ones full empty arange bool int long nonzero "
    "rand randn randint randperm eye linspace logspace"
)
UNDIFFERENTIABLE = frozenset(_NOT_DIFFERENTIABLE.split())


def canonical(name: str) -> str:
    """Return the canonical name of a torch method or function, the name itself where there is none.

    A trailing underscore (in-place) is dropped when the plain form is known: the result is the same value.
    """
    if name in _CANONICAL:
        return _CANONICAL[name]
    if name.endswith("_") and not name.endswith("__") and name[:-1] in _CANONICAL:
        return _CANONICAL[name[:-1]]
    return name


def is_inplace(name: str) -> bool:
    """Whether a method overwrites the tensor that it is called on (`add_`, `__iadd__`)."""
    dunder = name.startswith("__i") and name.endswith("__") and name not in {"__int__", "__invert__"}
    return dunder or (name.endswith("_") and not name.endswith("__"))


def role(name: str) -> Role:
    """Return the role of a canonical operation name."""
    return ROLES.get(name, Role.OTHER)

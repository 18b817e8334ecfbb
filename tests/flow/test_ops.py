from __future__ import annotations

import pytest

from bnlint.flow.ops import GRAD_OFF, ROLES, STOPS, Role, canonical, is_inplace, role


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub", "sub"),
        ("subtract", "sub"),
        ("sub_", "sub"),
        ("__sub__", "sub"),
        ("__isub__", "sub"),
        ("__rsub__", "rsub"),
        ("true_divide", "div"),
        ("div_", "div"),
        ("__rtruediv__", "rdiv"),
        ("pow_", "pow"),
        ("clamp_min_", "clamp"),
        ("linalg_vector_norm", "norm"),
        ("nanmean", "mean"),
        ("unsqueeze_", "reshape"),
        ("type_as", "reshape"),
        ("conv2d", "conv2d"),
        ("relu_", "relu_"),
        ("__call__", "__call__"),
    ],
)
def test_every_spelling_has_one_name(name: str, expected: str) -> None:
    assert canonical(name) == expected


@pytest.mark.parametrize("name", sorted(ROLES))
def test_a_canonical_name_is_its_own(name: str) -> None:
    assert canonical(name) == name
    assert role(name) is not Role.OTHER


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", Role.REDUCTION),
        ("var", Role.REDUCTION),
        ("reshape", Role.SHAPE),
        ("part", Role.PART),
        ("rsqrt", Role.POINTWISE),
        ("div", Role.ARITHMETIC),
        ("conv2d", Role.OTHER),
        ("max", Role.REDUCTION),
        ("softmax", Role.OTHER),
        ("matmul", Role.OTHER),
    ],
)
def test_role(name: str, expected: Role) -> None:
    assert role(name) is expected


@pytest.mark.parametrize("name", ["add_", "detach_", "__iadd__", "copy_", "lerp_"])
def test_inplace(name: str) -> None:
    assert is_inplace(name)


@pytest.mark.parametrize("name", ["add", "detach", "__add__", "__int__", "__invert__", "__call__"])
def test_not_inplace(name: str) -> None:
    assert not is_inplace(name)


@pytest.mark.parametrize("name", sorted({*STOPS, *GRAD_OFF}))
def test_a_stop_is_no_operation_that_a_statistic_passes(name: str) -> None:
    assert role(canonical(name)) is Role.OTHER

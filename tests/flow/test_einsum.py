"""Which equations of `einsum` are sums of one tensor, and over what."""

import pytest
import torch

from bnlint.flow.einsum import read_einsum


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bchw->c", [(2, 3, 4, 5)]),
        ("b c h w -> b c", [(2, 3, 4, 5)]),
        ("bc...->c", [(2, 3, 4, 5)]),
        ("...c->c", [(2, 4, 5, 3)]),
        ("b...c->b", [(2, 4, 5, 3)]),
        ("bchw,bchw->c", [(2, 3, 4, 5), (2, 3, 4, 5)]),
        ("bchw->", [(2, 3, 4, 5)]),
    ],
)
def test_a_sum_is_over_the_dimensions_that_the_result_lacks(equation, shapes):
    tensors = [torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in shapes]
    read = read_einsum(equation, len(tensors))

    assert read is not None and read.sums
    product = tensors[0] if len(tensors) == 1 else tensors[0] * tensors[1]
    torch.testing.assert_close(torch.einsum(equation, *tensors), product.sum(read.summed(product.dim())))


@pytest.mark.parametrize(("equation", "operands"), [("bchw->bhwc", 1), ("bchw,c->bchw", 2), ("c,b...c->b...c", 2)])
def test_a_product_that_spreads_and_another_layout_sum_nothing(equation, operands):
    read = read_einsum(equation, operands)

    assert read is not None and not read.sums


@pytest.mark.parametrize(
    ("equation", "operands"),
    [
        ("bid,bjd->bij", 2),
        ("bchw,c->b", 2),  # a sum with weights
        ("ii->i", 1),  # a diagonal
        ("ij,jk,kl->il", 3),
        ("bchw", 1),
        ("bchw->c", 2),
    ],
)
def test_products_of_matrices_and_sums_with_weights_are_no_sums_of_a_tensor(equation, operands):
    assert read_einsum(equation, operands) is None

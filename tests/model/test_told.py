"""Places as exporters tell them."""

import pytest
from torch import fx

from bnlint.model.told import place_of


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ("", ""),
        ("stem.1.norm", "stem.1.norm"),
        ("L['self'].norm", "norm"),
        ("getattr(L['self'].stem, '1')", "stem.1"),
        ("getattr(getattr(L['fn'], '1'), '0')", "1.0"),
    ],
)
def test_the_path_of_a_module_is_read_as_every_torch_writes_it(told, path):
    node = fx.Graph().placeholder("x")
    node.meta["nn_module_stack"] = {"key": (told, object)}

    assert place_of(node).module == path

"""Files that use each other are fixed in whatever order they come, and what is said counts each finding once."""

from __future__ import annotations

import pytest
from terminal import Cli
from used import LAYER, MODEL


@pytest.mark.parametrize(("model", "layer"), [("a.py", "b.py"), ("b.py", "a.py")])
@pytest.mark.parametrize("command", [("fix",), ("check", "--fix")])
def test_a_file_that_looks_into_one_that_is_fixed_has_nothing_left(
    cli: Cli, model: str, layer: str, command: tuple[str, ...]
) -> None:
    cli.write(layer, LAYER)
    cli.write(model, MODEL.format(layer.removesuffix(".py")))
    assert "would fix 2 findings in 1 file\n" in cli("fix", "--diff").err
    result = cli(*command)
    assert result.code == 0
    assert "BN102" not in result.out
    assert "fixed 2 findings in 1 file" in result.err
    assert "no_grad" not in cli.read(layer)


STATS = """
def center(x):
    m = x.mean(0).detach()
    y = x - m
    return m, y
"""
RUNNING = """import torch
from b import center


class Norm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))

    def forward(self, x):
        m, y = center(x)
        self.running_mean = 0.9 * self.running_mean + 0.1 * m
        return y if self.training else x - self.running_mean
"""


def test_what_the_fix_of_a_file_brings_to_light_in_one_before_it_is_fixed_in_the_same_run(cli: Cli) -> None:
    """Without its detach, the mean would take its graph into the running statistic of the other file."""
    cli.write("a.py", RUNNING)
    cli.write("b.py", STATS)
    shown = cli("fix", "--diff")
    assert cli("fix").code == 0
    assert ("detach" in cli.read("b.py"), "detach" in cli.read("a.py")) == (False, True)
    assert {line.split(" ")[1] for line in shown.out.splitlines() if line.startswith("+++ ")} == {"a.py", "b.py"}
    before = cli.read("a.py"), cli.read("b.py")
    assert cli("fix").err.startswith("fixed 0 findings")
    assert (cli.read("a.py"), cli.read("b.py")) == before
    assert cli("check").code == 0


def test_a_finding_in_a_file_that_was_not_named_is_told_as_such(cli: Cli) -> None:
    cli.write("layer.py", LAYER)
    cli.write("model.py", MODEL.format("layer"))
    said = "layer.py is used by what was named: name it too for its fixes\n"
    assert cli("check", "model.py").err.endswith(said)
    for named in (["."], ["model.py", "layer.py"], ["model.py", str(cli.folder / "layer.py")]):
        assert said not in cli("check", *named).err
    assert said not in cli("check", "-q", "model.py").err


def test_an_excluded_file_says_nothing_by_way_of_one_that_uses_it(cli: Cli) -> None:
    cli.write("vendored/layer.py", LAYER)
    cli.write("model.py", MODEL.format("vendored.layer"))
    assert cli("check").code == 1
    for command in ("check", "fix"):
        assert cli(command, "--exclude", "vendored/").code == 0
    cli.write("bnlint.toml", 'exclude = ["vendored/"]\n')
    assert cli("check").code == cli("check", "--add-ignores", "why").code == 0
    assert cli.read("vendored/layer.py") == LAYER
    assert cli("check", "vendored/layer.py").code == 1
    cli.write("own.py", "from vendored.stats import center\n\n\ndef norm(x):\n    return x - center(x)\n")
    cli.write("vendored/stats.py", "def center(x):\n    return x.mean(0).detach()\n")
    assert cli.lines() == ["vendored/stats.py:2:21: BN101"]  # it is used here

"""BN105 in source: collectives that overwrite a statistic, and those that are none of its business."""

from __future__ import annotations

import pytest
from snippets import about_gradients, module, reported

from bnlint.source.check import fix_source


def distributed(body: str) -> str:
    lines = "".join(f"            {line}\n" for line in body.strip("\n").split("\n"))
    return module(
        "import torch.distributed as dist\nfrom torch.distributed import all_reduce as summed\n\n\n"
        "class Norm(nn.BatchNorm1d):\n    def forward(self, x):\n" + lines.replace("            ", "        ")
    )


FOUND = {
    "plain": ("mean = x.mean(0)\ndist.all_reduce(mean)\nreturn x - mean / 2", True),
    "guarded": (
        "mean = x.mean(0)\nif dist.is_initialized() and self.training:\n    dist.all_reduce(mean)\nreturn x - mean / 2",
        True,
    ),
    "full name, operation and group": (
        "std = x.std(0)\ntorch.distributed.all_reduce(std, op=dist.ReduceOp.AVG, group=None)\nstd += 1\nreturn x / std",
        True,
    ),
    "imported under another name": ("mean = x.mean(0)\nsummed(mean, dist.ReduceOp.SUM)\nreturn x - mean", False),
    "entry of a dict": ('s = {"m": x.mean(0)}\ndist.all_reduce(tensor=s["m"])\nreturn x - s["m"]', True),
    "through .data": ("mean = x.mean(0)\ndist.all_reduce(mean.data)\nreturn x - mean / 2", True),
    "without gradients": ("mean = x.mean(0)\nwith torch.no_grad():\n    dist.all_reduce(mean)\nreturn x - mean", False),
    "broadcast": ("mean = x.mean(0)\ndist.broadcast(mean, 0)\nreturn x - mean", False),
    "reduce": ("mean = x.mean(0)\ndist.reduce(mean, 0)\nreturn x - mean", False),
    "gathered": ("parts = []\ndist.all_gather(parts, x.mean(0))\nreturn x - parts[0]", False),
    "asynchronous": ("mean = x.mean(0)\ndist.all_reduce(mean, async_op=True).wait()\nreturn x - mean", False),
    "work in hand": ("m = x.mean(0)\nwork = dist.all_reduce(m, async_op=True)\nwork.wait()\nreturn x - m", False),
    "maximum": ("n = x.norm(dim=0)\ndist.all_reduce(n, op=dist.ReduceOp.MAX)\nreturn x / n", False),
}
SILENT = {
    "differentiable": "mean = torch.distributed.nn.functional.all_reduce(x.mean(0))\nreturn x - mean",
    "functional": "m = torch.distributed._functional_collectives.all_reduce(x.mean(0), 'sum', None)\nreturn x - m",
    "buffer": "dist.all_reduce(self.running_mean)\nreturn x - x.mean(0)",
    "copy for a buffer": "m = x.mean(0)\nc = 1 * m\ndist.all_reduce(c)\nself.running_mean.lerp_(c, 0.1)\nreturn x - m",
    "metric": "loss = (x - x.mean(0)).mean()\ndist.all_reduce(loss)\nreturn loss",
    "gradient": "g = self.weight.grad\ndist.all_reduce(g)\nreturn x - x.mean(0)",
    "count": "n = torch.tensor(x.size(0))\ndist.all_reduce(n)\nreturn x - x.mean(0) * n / n",
    "evaluation": "m = x.mean(0)\nif not self.training:\n    dist.all_reduce(m)\nreturn x - m",
    "a function of its own": "m = x.mean(0)\nself.all_reduce(m)\nreturn x - m",
}


@pytest.mark.parametrize(("body", "has_a_fix"), FOUND.values(), ids=FOUND.keys())
def test_an_exchanged_statistic_is_found(body: str, has_a_fix: bool) -> None:
    source = distributed(body).encode()
    (finding,) = about_gradients(source.decode())
    assert (finding.code, finding.stop) == ("BN105", "collective")
    assert (finding.fix is not None) == has_a_fix
    assert finding.fix is None or not finding.fix.safe
    assert fix_source(source, "a.py", lambda _: True) == source
    fixed = fix_source(source, "a.py", lambda _: True, unsafe=True)
    assert (fixed == source) == (not has_a_fix)
    assert [f.code for f in about_gradients(fixed.decode())] == ([] if has_a_fix else ["BN105"])
    assert fix_source(fixed, "a.py", lambda _: True, unsafe=True) == fixed
    assert fixed.count(b"import torch.distributed.nn\n") == has_a_fix


@pytest.mark.parametrize("body", SILENT.values(), ids=SILENT.keys())
def test_other_collectives_are_silent(body: str) -> None:
    assert reported(distributed(body)) == []


def test_a_stop_before_the_collective_is_mended_first() -> None:
    source = distributed("mean = x.mean(0).detach()\ndist.all_reduce(mean)\nreturn x - mean / 2").encode()
    (finding,) = about_gradients(source.decode())
    assert finding.code == "BN101"
    assert finding.fix is not None and finding.fix.safe
    safe = fix_source(source, "a.py", lambda _: True)
    assert safe == source.replace(b".detach()", b"")
    assert [f.code for f in about_gradients(safe.decode())] == ["BN105"]
    assert about_gradients(fix_source(source, "a.py", lambda _: True, unsafe=True).decode()) == []


def test_a_running_statistic_of_an_exchanged_one_stays_out_of_the_graph() -> None:
    source = distributed("m = x.mean(0)\ndist.all_reduce(m)\nself.running_mean.lerp_(m, 0.1)\nreturn x - m").encode()
    fixed = fix_source(source, "a.py", lambda _: True, unsafe=True)
    assert b"lerp_(m.detach(), 0.1)" in fixed

"""Conversions of layers: which lose what was learned, and which cannot be told to."""

from __future__ import annotations

import textwrap

import pytest

from bnlint.source.check import check_source

HEADER = """\
import copy
import torch
from torch import nn


class Own(nn.BatchNorm2d):
    pass


class Affine(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.bias = nn.Parameter(torch.zeros(n))
        self.size = n


class Frozen(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.register_buffer("weight", torch.ones(n))
        self.register_buffer("bias", torch.zeros(n))
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))


"""


def converter(body: str, after: str = "") -> str:
    """A function that walks over a model and runs the body where it finds a batch norm."""
    inside = textwrap.indent(textwrap.dedent(body).strip(), " " * 12)
    return (
        f"{HEADER}def convert(model):\n    for name, child in model.named_children():\n"
        f"        if isinstance(child, nn.BatchNorm2d):\n{inside}\n        else:\n            convert(child)\n"
        f"    return model\n\n\n{textwrap.dedent(after).strip()}\n"
    )


def dropped(source: str) -> list[str]:
    """What the findings about conversions say is lost."""
    findings = [f for f in check_source(source.encode(), "a.py") if f.code == "BN401"]
    return [f.message.split(" does not get its ")[1].split(", though ")[0].split(":")[0] for f in findings]


PARAMETERS = """
    new.weight = child.weight
    new.bias = child.bias
"""
STATISTICS = """
    new.running_mean.copy_(child.running_mean)
    new.running_var.copy_(child.running_var)
"""
PLACE = "setattr(model, name, new)"
GIVEN = "child.num_features, child.eps, child.momentum"


def body(made: str, *copies: str, place: str = PLACE) -> str:
    """A construction, what is copied, and how the new layer gets its place."""
    return "\n".join([f"new = {made}", *(textwrap.dedent(copy).strip() for copy in copies), place])


LOSSY = {
    "running statistics": (body(f"Own({GIVEN})", PARAMETERS), "running_mean and running_var"),
    "parameters": (body(f"nn.SyncBatchNorm({GIVEN})", STATISTICS), "weight and bias"),
    "one of all": (
        body(f"nn.BatchNorm2d({GIVEN})", PARAMETERS, "new.running_mean = child.running_mean"),
        "running_var",
    ),
    "options": (body("Own(child.num_features)", PARAMETERS, STATISTICS), "eps and momentum"),
    "options of a state dict": (
        body("Own(child.num_features, momentum=child.momentum)", "new.load_state_dict(child.state_dict())"),
        "eps",
    ),
    "everything at once": (
        body("nn.BatchNorm2d(child.num_features)", "new.weight.data = child.weight.data.clone()"),
        "bias, running_mean, running_var, eps and momentum",
    ),
    "buffers of an own class": (body("Frozen(child.num_features)", PARAMETERS), "running_mean and running_var"),
    "parameters of an own class": (body("Affine(child.num_features)", "new.weight = child.weight"), "bias"),
    "bias of a group norm": (
        body("nn.GroupNorm(8, child.num_features)", "new.weight.data.copy_(child.weight.data)"),
        "bias",
    ),
    "placed among modules": (
        body(f"Own({GIVEN})", PARAMETERS, place="model._modules[name] = new"),
        "running_mean and running_var",
    ),
    "added": (body(f"Own({GIVEN})", PARAMETERS, place="model.add_module(name, new)"), "running_mean and running_var"),
    "set by its path": (
        body(f"Own({GIVEN})", PARAMETERS, place="model.set_submodule(name, new)"),
        "running_mean and running_var",
    ),
    "a shape is no copy": (
        body(f"Own({GIVEN})", PARAMETERS, "n = child.running_mean.shape", "same = child.running_var is None"),
        "running_mean and running_var",
    ),
}


@pytest.mark.parametrize(("text", "lost"), LOSSY.values(), ids=LOSSY.keys())
def test_what_a_conversion_loses_is_named(text: str, lost: str) -> None:
    source = converter(text)
    compile(source, "a.py", "exec")
    assert dropped(source) == [lost]


def test_the_finding_stands_at_the_new_layer_in_characters() -> None:
    source = converter("label = 'é😀'; " + body(f"Own({GIVEN})", PARAMETERS))
    (finding,) = check_source(source.encode(), "a.py")
    assert finding.location is not None
    line = source.splitlines()[finding.location.line - 1]
    assert line[finding.location.column - 1 : finding.location.end_column - 1] == f"Own({GIVEN})"
    assert finding.symbol == "convert"


def test_a_comment_suppresses_it() -> None:
    text = body(f"Own({GIVEN})  # bnlint: ignore[BN401] statistics are measured anew", PARAMETERS)
    assert check_source(converter(text).encode(), "a.py") == []


KEPT = {
    "everything": body(f"Own({GIVEN})", PARAMETERS, STATISTICS),
    "state dict and options": body(f"Own({GIVEN})", "new.load_state_dict(child.state_dict())"),
    "options set later": body(
        "Own(child.num_features)", PARAMETERS, STATISTICS, "new.eps, new.momentum = child.eps, child.momentum"
    ),
    "options of its own": body("Own(child.num_features, eps=1e-3, momentum=0.01)", PARAMETERS, STATISTICS),
    "options unknown": body("Own(child.num_features, **options)", PARAMETERS, STATISTICS),
    "no options to give": body("Frozen(child.num_features)", PARAMETERS, STATISTICS),
    "nothing that could be kept": body("nn.GroupNorm(8, child.num_features)", PARAMETERS),
    "an own class without statistics": body("Affine(child.num_features)", PARAMETERS),
    "instance norm": body("nn.InstanceNorm2d(child.num_features)", PARAMETERS),
    "affine off": body(f"nn.BatchNorm2d({GIVEN}, affine=False)", STATISTICS),
    "no class that is known": body("Unknown(child.num_features)", PARAMETERS),
    "a copy of the whole": body("copy.deepcopy(child)", PARAMETERS),
    "given as a whole": body(f"Own({GIVEN})", PARAMETERS, "transfer(child, new)"),
    "its dictionary": body(f"Own({GIVEN})", PARAMETERS, "new.__dict__.update(child.__dict__)"),
    "attributes by name": body(
        f"Own({GIVEN})", PARAMETERS, "for key in names:\n    setattr(new, key, getattr(child, key))"
    ),
    "not put in place": body(f"Own({GIVEN})", PARAMETERS, place="layers.append(new)"),
    "a choice of classes": body(
        "Own(child.num_features)", PARAMETERS, "if flag:\n    new = nn.GroupNorm(8, child.num_features)"
    ),
    "fresh": body("Own(child.num_features)"),
    "fresh, at once": "setattr(model, name, nn.GroupNorm(8, child.num_features))",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT.keys())
def test_what_loses_nothing_or_cannot_be_told_to_is_left_alone(text: str) -> None:
    source = converter(text)
    compile(source, "a.py", "exec")
    assert dropped(source) == []


FRESH = "setattr(model, name, nn.GroupNorm(8, child.num_features))"
TRAINED = {
    "loaded": ("def f(net):\n    net.load_state_dict(torch.load('a.pt'))\n    return convert(net)", True),
    "pretrained": ("net = resnet18(pretrained=True)\nnet = convert(net)", True),
    "weights": ("def f():\n    net = resnet18(weights=Weights.DEFAULT)\n    convert(net)\n    return net", True),
    "from a hub": ("net = Model.from_pretrained('name')\nconvert(net)", True),
    "a file": ("net = torch.load('model.pt')\nconvert(net)", True),
    "loaded after it": ("net = resnet18(pretrained=True)\nconvert(net)\nnet.load_state_dict(state)", False),
    "loaded into the result": ("net = torch.load('a.pt')\nnew = convert(net)\nnew.load_state_dict(state)", False),
    "just built": ("net = resnet18()\nconvert(net)", False),
    "built by a library": ("net = models.resnet18()\nconvert(net)", False),
    "not pretrained": ("net = resnet18(pretrained=False, weights=None)\nconvert(net)", False),
    "perhaps": ("def f(pretrained):\n    net = resnet18(pretrained=pretrained)\n    return convert(net)", False),
    "another model": ("net = resnet18(pretrained=True)\nother = resnet18()\nconvert(other)", False),
    "built anew": ("net = resnet18(pretrained=True)\nnet = resnet18()\nconvert(net)", False),
    "loaded at another time": (
        "def f(net):\n    def g():\n        net.load_state_dict(s)\n    return convert(net), g",
        False,
    ),
    "another function": ("net = resnet18(pretrained=True)\nfreeze(net)", False),
}


@pytest.mark.parametrize(("use", "lossy"), TRAINED.values(), ids=TRAINED.keys())
def test_a_conversion_that_copies_nothing_is_one_of_trained_models_or_not(use: str, lossy: bool) -> None:
    source = converter(FRESH, use)
    compile(source, "a.py", "exec")
    assert dropped(source) == (["weight and bias"] if lossy else [])


RECURSIVE = f"""\
{HEADER}
class Tools:
    @classmethod
    def convert(cls, module):
        out = module
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d) or isinstance(module, nn.SyncBatchNorm):
            out = Own(module.num_features, module.eps, momentum=module.momentum)
            out.weight, out.bias = module.weight, module.bias
            COPIES
        for name, child in module.named_children():
            out.add_module(name, cls.convert(child))
        return out
"""


def test_a_function_may_return_the_new_layer_to_itself() -> None:
    assert dropped(RECURSIVE.replace("COPIES", "pass")) == ["running_mean and running_var"]
    copies = "out.running_mean, out.running_var = module.running_mean, module.running_var"
    assert dropped(RECURSIVE.replace("COPIES", copies)) == []
    assert dropped(RECURSIVE.replace("COPIES", "pass").replace("out.add_module(name, ", "print(")) == []


def test_momentum_is_not_asked_of_a_frozen_layer() -> None:
    text = body("nn.BatchNorm2d(child.num_features, child.eps)", PARAMETERS, STATISTICS)
    source = converter(text)
    assert dropped(source) == ["momentum"]
    assert dropped(source.replace("isinstance(child, nn.BatchNorm2d)", "isinstance(child, FrozenBatchNorm2d)")) == []


TESTS = [
    "type(child) is nn.BatchNorm2d",
    "type(child) in (nn.Linear, nn.BatchNorm2d)",
    "isinstance(child, (\n                nn.Linear,\n                nn.BatchNorm2d,\n            ))",
    "isinstance(child, nn.Linear) or isinstance(child, nn.modules.batchnorm._NormBase)",
]


@pytest.mark.parametrize("test", TESTS)
def test_a_norm_is_told_by_its_type_in_several_ways(test: str) -> None:
    source = converter(body(f"Own({GIVEN})", PARAMETERS)).replace("isinstance(child, nn.BatchNorm2d)", test)
    assert test in source
    assert dropped(source) == ["running_mean and running_var"]

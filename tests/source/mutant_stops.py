"""The ways in which mutants stop the gradient of a statistic, or only seem to; `§` marks the line to be reported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stop:
    """A way in which the gradient of a statistic is stopped, or only seems to be.

    Attributes:
        value: What becomes of the statistic's expression `{e}`.
        tensor: What the statistic is taken of, for `{t}`.
        lines: Statements that bind `{name}`; `{e}` is the statistic's expression.
        definition: Top-level text; in it `{e}` is the statistic of `x`.
        method: The same, as a method.
    """

    value: str = "{e}"
    tensor: str = "{t}"
    lines: str = ""
    definition: str = ""
    method: str = ""


_ITEMS = "torch.tensor([{one} for s in {{e}}.flatten()], dtype=x.dtype).view({{e}}.shape)§"
STOPS: dict[str, Stop] = {
    # nothing, or nothing that matters in training
    "none": Stop(),
    "stopped in eval": Stop(lines="{name} = {e}\nif not self.training:\n    {name} = {name}.detach()\n"),
    "stopped in eval, conditional expression": Stop("({e} if self.training else {e}.detach())"),
    "stopped for a buffer": Stop(lines="{name} = {e}\nself.seen_{name} = {name}.detach().clone()\n"),
    "stopped for a log": Stop(lines="{name} = {e}\nself.log = [float({name}.sum()), {name}.mean().item()]\n"),
    "stopped twin": Stop(lines="twin_{name} = {e}.detach()\n{name} = {e}\nassert twin_{name} is not {name}\n"),
    "stopped and put back": Stop(lines="{name} = {e}\n{name} = {name}.detach() + ({name} - {name}.detach())\n"),
    "switched off by a flag": Stop(lines="{name} = {e}\nif self.frozen:\n    {name} = {name}.detach()\n"),
    "switched off by an argument": Stop("({e}.detach() if frozen else {e})"),
    "switched off by a null context": Stop(
        lines="with torch.no_grad() if self.frozen else contextlib.nullcontext():\n    {name} = {e}\n"
    ),
    "switched off by a null context of its own": Stop(
        lines="off = torch.no_grad() if self.frozen else contextlib.nullcontext()\nwith off:\n    {name} = {e}\n"
    ),
    "switched off by set_grad_enabled": Stop(lines="with torch.set_grad_enabled(not self.frozen):\n    {name} = {e}\n"),
    "gradients enabled again": Stop(
        lines="with torch.no_grad():\n    with torch.enable_grad():\n        {name} = {e}\n"
    ),
    "inference mode of eval": Stop(lines="with torch.inference_mode(not self.training):\n    {name} = {e}\n"),
    "gradients where they are enabled": Stop(
        lines="{name} = {e}\nif not torch.is_grad_enabled():\n    {name} = {name}.detach()\n"
    ),
    "as_tensor of a tensor": Stop("torch.as_tensor({e}, dtype=x.dtype)"),
    "only named without gradients": Stop(
        lines="{name} = {e}\nwith torch.no_grad():\n    kept_{name} = {name}\n{name} = kept_{name}\n"
    ),
    "number of elements stopped": Stop("({e} * torch.tensor(x.numel()).item() / x.detach().numel())"),
    # the statistic's own expression
    "detach": Stop("{e}.detach()§"),
    "torch.detach": Stop("torch.detach({e})§"),
    "detach and clone": Stop("{e}.detach().clone()§"),
    "clone and detach": Stop("{e}.clone().detach()§"),
    "data": Stop("{e}.data§"),
    "Variable": Stop("Variable({e}.data)§"),
    "items": Stop(_ITEMS.format(one="s.item()")),
    "floats": Stop(_ITEMS.format(one="float(s)")),
    "list": Stop("torch.tensor({e}.tolist(), dtype=x.dtype)§"),
    "new_tensor": Stop("x.new_tensor({e})§"),
    "torch.tensor": Stop("torch.tensor({e})§"),
    "as_tensor": Stop("torch.as_tensor({e}.detach().numpy())§"),
    "from_numpy": Stop("torch.from_numpy({e}.cpu().numpy(force=True))§"),
    "np.asarray": Stop("torch.from_numpy(np.asarray({e}.detach()))§"),
    "dlpack": Stop("torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack({e}))§"),
    "from_dlpack": Stop("torch.from_dlpack({e}.detach())§"),
    "no_grad around a lambda": Stop("torch.no_grad()(lambda x: {e})({t})§"),
    # what it is taken of
    "detached tensor": Stop(tensor="{t}.detach()§"),
    "data of the tensor": Stop(tensor="{t}.data§"),
    "clone of the detached tensor": Stop(tensor="{t}.detach().clone()§"),
    "detached tensor on its own line": Stop(lines="plain = {t}.detach()§\n{name} = {e}\n", tensor="plain"),
    "cast of the detached tensor": Stop(tensor="{t}.detach().double()§"),
    # statements
    "detach_": Stop(lines="{name} = {e}.clone()\n{name}.detach_()§\n"),
    "own line": Stop(lines="{name} = {e}\n{name} = {name}.detach()§\n"),
    "branch of training": Stop(lines="{name} = {e}\nif self.training:\n    {name} = {name}.detach()§\n"),
    "conditional expression of training": Stop("({e}.detach() if self.training else {e})§"),
    "no_grad": Stop(lines="with torch.no_grad():\n    {name} = {e}§\n"),
    "torch.autograd.no_grad": Stop(lines="with torch.autograd.no_grad():\n    {name} = {e}§\n"),
    "inference_mode": Stop(lines="with torch.inference_mode():\n    {name} = {e}§\n{name} = {name}.clone()\n"),
    "set_grad_enabled": Stop(lines="with torch.set_grad_enabled(False):\n    {name} = {e}§\n"),
    "set_grad_enabled by keyword": Stop(lines="with torch.set_grad_enabled(mode=False):\n    {name} = {e}§\n"),
    "set_grad_enabled as a call": Stop(
        lines="torch.set_grad_enabled(False)\n{name} = {e}§\ntorch.set_grad_enabled(True)\n"
    ),
    "set_grad_enabled as a call, put back": Stop(
        lines="before = torch.is_grad_enabled()\ntorch.set_grad_enabled(False)\n"
        "{name} = {e}§\ntorch.set_grad_enabled(before)\n"
    ),
    "no_grad beside autocast": Stop(
        lines='with torch.no_grad(), torch.autocast("cpu", enabled=False):\n    {name} = {e}§\n'
    ),
    "context kept in a name": Stop(lines="off = torch.no_grad()\nwith off:\n    {name} = {e}§\n"),
    "no_grad of the training branch": Stop(
        lines="if not self.training:\n    {name} = {e}\nelse:\n    with torch.no_grad():\n        {name} = {e}§\n"
    ),
    "copied without gradients": Stop(
        lines="{name} = torch.zeros_like({e})\nwith torch.no_grad():\n    {name}.copy_({e})§\n"
    ),
    "copied into data": Stop(lines="{name} = torch.zeros_like({e})\n{name}.data.copy_({e})§\n"),
    "out= without gradients": Stop(
        lines="{name} = torch.zeros_like({e})\nwith torch.no_grad():\n    torch.add({e}, 0.0, out={name})§\n"
    ),
    # definitions
    "helper": Stop("frozen_value({e})", definition="def frozen_value(value):\n    return value.detach()§\n"),
    "lambda of the module": Stop("STOP({e})", definition="STOP = lambda value: value.detach()§\n"),
    "module": Stop(
        "Frozen()({e})",
        definition="class Frozen(nn.Module):\n    def forward(self, value):\n        return value.detach()§\n",
    ),
    "decorator no_grad": Stop(
        "measured_{name}({t})", definition="@torch.no_grad()\ndef measured_{name}(x):\n    return {e}§\n"
    ),
    "decorator inference_mode": Stop(
        "measured_{name}({t}).clone()",
        definition="@torch.inference_mode()\ndef measured_{name}(x):\n    return {e}§\n",
    ),
    "decorator set_grad_enabled": Stop(
        "measured_{name}({t})",
        definition="@torch.set_grad_enabled(False)\ndef measured_{name}(x):\n    return {e}§\n",
    ),
    "decorator without a call": Stop(
        "measured_{name}({t})", definition="@torch.no_grad\ndef measured_{name}(x):\n    return {e}§\n"
    ),
    "static method": Stop(
        "Norm.frozen_{name}({t})", method="@staticmethod\ndef frozen_{name}(x):\n    return {e}.detach()§\n"
    ),
}

"""Fixes of numbers, of regions without gradients and of what objects keep: the exact text, and the text run live."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fixing import assert_mended, fixed_text, gradient_error, live, method
from snippets import about_gradients, reported

NUMBERS = {
    "in the expression": (
        "return (x - x.mean().item()) / float(x.std() + 1e-5)",
        "return (x - x.mean()) / (x.std() + 1e-5)",
    ),
    "other uses get the number back": (
        'mean = x.mean().item()\nself.log("mean", mean)\nself.logs["mean"] = f"{mean:.3f}"\nreturn x - mean',
        'mean = x.mean()\nself.log("mean", mean.item())\nself.logs["mean"] = f"{mean.item():.3f}"\nreturn x - mean',
    ),
    "arithmetic of numbers": (
        "var = x.var().item()\nstd = (var + self.eps) ** 0.5\nreturn x / std",
        "var = x.var()\nstd = (var + self.eps) ** 0.5\nreturn x / std",
    ),
    "a name bound again": (
        "std = x.std().item()\nstd = 2 * std + self.eps\nreturn x * (1 / std)",
        "std = x.std()\nstd = 2 * std + self.eps\nreturn x * (1 / std)",
    ),
    "square root by math": (
        "std = math.sqrt(x.var().item() + self.eps)\nreturn x / std",
        "std = (x.var() + self.eps).sqrt()\nreturn x / std",
    ),
    "square root over lines": (
        "return x / math.sqrt(\n    x.var().item()\n    + self.eps\n)",
        "return x / (x.var()\n    + self.eps).sqrt()",
    ),
    "square root by NumPy": (
        "var = x.var().item()\nreturn x / np.sqrt(var)",
        "var = x.var()\nreturn x / var.sqrt()",
    ),
    "logarithm and exponential": (
        "std = math.exp(math.log(x.std().item()))\nreturn x / std",
        "std = x.std().log().exp()\nreturn x / std",
    ),
    "tuple": (
        "m, s = x.mean().item(), float(x.std())\nself.number = m\nreturn (x - m) / (s + self.eps)",
        "m, s = x.mean(), x.std()\nself.number = m.item()\nreturn (x - m) / (s + self.eps)",
    ),
    "list of numbers": (
        "m = x.mean(0).tolist()\nreturn torch.stack([x[:, i] - m[i] for i in range(3)], 1)",
        "m = x.mean(0)\nreturn torch.stack([x[:, i] - m[i] for i in range(3)], 1)",
    ),
    "list of numbers in a tensor": (
        "m = torch.tensor(x.mean(0).tolist(), dtype=x.dtype, device=x.device)\nreturn x - m",
        "m = x.mean(0)\nreturn x - m",
    ),
    "type and device that could differ": (
        "m = x.mean(0)\nm = torch.as_tensor(m.tolist(), dtype=x.dtype, device=x.device)\nreturn x - m",
        "m = x.mean(0)\nm = m.to(dtype=x.dtype, device=x.device)\nreturn x - m",
    ),
    "new_tensor": (
        "m, s = x.new_tensor(x.mean(0).tolist()), x.new_tensor(x.double().std(0))\nreturn (x - m) / s",
        "m, s = x.mean(0), x.double().std(0).to(x)\nreturn (x - m) / s",
    ),
    "copy of a tensor": (
        "m = torch.tensor(x.mean(0) + 0)\nreturn x - m",
        "m = x.mean(0) + 0\nreturn x - m",
    ),
    "array and back": (
        "m = x.mean(0).detach().cpu().numpy()\nself.number = m.sum()\nreturn x - torch.from_numpy(m).to(x.device)",
        "m = x.mean(0).cpu()\nself.number = m.detach().numpy().sum()\nreturn x - m.to(x.device)",
    ),
    "Variable": (
        "m = Variable(x.mean(0).data, requires_grad=False)\nreturn x - m",
        "m = x.mean(0)\nreturn x - m",
    ),
    "augmented assignment of the input": (
        "x -= x.mean().item()\nreturn x",
        "x -= x.mean()\nreturn x",
    ),
    "functions": (
        "return torch.div(x.sub(-(-x.mean().item())), x.std().item())",
        "return torch.div(x.sub(-(-x.mean())), x.std())",
    ),
    "one branch": (
        "mean = x.mean().item() if self.training else self.number\nreturn x - mean",
        "mean = x.mean() if self.training else self.number\nreturn x - mean",
    ),
    "in a block": (
        "with torch.no_grad():\n    mean = x.mean().item()\nreturn x - mean",
        "mean = x.mean()\nreturn x - mean",
    ),
    "number that updates a buffer": (
        "mean = x.mean().item()\nself.running_mean.mul_(0.9).add_(0.1 * mean)\nreturn x - mean",
        "mean = x.mean()\nself.running_mean.mul_(0.9).add_(0.1 * mean.item())\nreturn x - mean",
    ),
    "number that rebinds a buffer": (
        "mean = x.mean().item()\nself.running_mean = 0.9 * self.running_mean + 0.1 * mean\nreturn x - mean",
        "mean = x.mean()\nself.running_mean = (0.9 * self.running_mean + 0.1 * mean).detach()\nreturn x - mean",
    ),
    "running statistic that is a number": (
        "mean = x.mean().item()\nself.number = 0.9 * self.number + 0.1 * mean\nreturn x - mean",
        "mean = x.mean()\nself.number = 0.9 * self.number + 0.1 * mean.item()\nreturn x - mean",
    ),
    "comments": (
        "m = (\n    x.mean()  # the mean\n    .item()  # a number\n)\nreturn x - m",
        "m = (\n    x.mean()  # the mean\n      # a number\n)\nreturn x - m",
    ),
}

REGIONS = {
    "several items": (
        """
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            m = x.mean(0)
            self.running_mean.lerp_(m, 0.1)
            s = x.std(0)
        return (x - m) / s
        """,
        """
        with torch.autocast("cpu", enabled=False):
            m = x.mean(0)
            with torch.no_grad():
                self.running_mean.lerp_(m, 0.1)
            s = x.std(0)
        return (x - m) / s
        """,
    ),
    "the last of several items": (
        'with torch.autocast("cpu", enabled=False), torch.no_grad():  # as always\n    m = x.mean(0)\nreturn x - m',
        'with torch.autocast("cpu", enabled=False):  # as always\n    m = x.mean(0)\nreturn x - m',
    ),
    "several items on one line": (
        'with torch.no_grad(), torch.autocast("cpu", enabled=False): m = x.mean(0)\nreturn x - m',
        'with torch.autocast("cpu", enabled=False): m = x.mean(0)\nreturn x - m',
    ),
    "several items over lines": (
        """
        with (
            torch.autocast("cpu", enabled=False),
            torch.no_grad(),
        ):
            m = x.mean(0)
        return x - m
        """,
        """
        with (
            torch.autocast("cpu", enabled=False),
        ):
            m = x.mean(0)
        return x - m
        """,
    ),
    "decorated function with updates": (
        '''
        @torch.no_grad()
        def statistics(x):
            m = x.mean(0)
            # the newest batch counts a tenth
            self.running_mean.lerp_(m, 0.1)

            self.running_var.lerp_(
                x.var(0),
                0.1,
            )
            return m, """as
        it is"""

        return x - statistics(x)[0]
        ''',
        '''
        def statistics(x):
            m = x.mean(0)
            with torch.no_grad():
                # the newest batch counts a tenth
                self.running_mean.lerp_(m, 0.1)

                self.running_var.lerp_(
                    x.var(0),
                    0.1,
                )
            return m, """as
        it is"""

        return x - statistics(x)[0]
        ''',
    ),
    "decorator without parentheses": (
        """
        @torch.no_grad
        def statistics(x):
            self.running_mean.lerp_(x.mean(0), 0.1)
            return x.mean(0)

        return x - statistics(x)
        """,
        """
        def statistics(x):
            with torch.no_grad():
                self.running_mean.lerp_(x.mean(0), 0.1)
            return x.mean(0)

        return x - statistics(x)
        """,
    ),
    "statistics and updates in one branch": (
        """
        with torch.no_grad():  # cheap
            if self.training:
                m = x.mean(0)

                # keep it
                self.running_mean.lerp_(m, 0.1)
                text = '''
            kept'''
            else:
                m = self.running_mean
                # end
        return x - m
        """,
        """
        if self.training:
            m = x.mean(0)

            with torch.no_grad():  # cheap
                # keep it
                self.running_mean.lerp_(m, 0.1)
            text = '''
            kept'''
        else:
            m = self.running_mean
            # end
        return x - m
        """,
    ),
    "loop, try": (
        """
        with torch.no_grad():
            for _ in range(2):
                m = x.mean(0)
                self.running_mean.lerp_(m, 0.1)
                try:
                    s = x.std(0)
                finally:
                    self.running_var.lerp_(s, 0.1)
        return (x - m) / s
        """,
        """
        for _ in range(2):
            m = x.mean(0)
            with torch.no_grad():
                self.running_mean.lerp_(m, 0.1)
            try:
                s = x.std(0)
            finally:
                with torch.no_grad():
                    self.running_var.lerp_(s, 0.1)
        return (x - m) / s
        """,
    ),
    "switch by a call": (
        "torch.set_grad_enabled(False)\nm = x.mean(0)\ntorch.set_grad_enabled(True)\nreturn x - m",
        "m = x.mean(0)\nreturn x - m",
    ),
    "switch by a call, with an update": (
        """
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        m = x.mean(0)
        self.running_mean.lerp_(m, 0.1)
        torch.set_grad_enabled(before)
        return x - m
        """,
        """
        before = torch.is_grad_enabled()
        m = x.mean(0)
        with torch.set_grad_enabled(False):
            self.running_mean.lerp_(m, 0.1)
        return x - m
        """,
    ),
    "update in a function that the block calls": (
        """
        def update(m):
            self.running_mean.lerp_(m, 0.1)

        with torch.no_grad():
            m = x.mean(0)
            update(m)
        return x - m
        """,
        """
        def update(m):
            self.running_mean.lerp_(m.detach(), 0.1)

        m = x.mean(0)
        update(m)
        return x - m
        """,
    ),
    "what is kept behind the block": (
        """
        with torch.no_grad():
            m = x.mean(0)
            v = x.var(0)
            self.ema = 0.9 * self.ema + 0.1 * m
        self.running_var.lerp_(v, 0.1)
        return x - m
        """,
        """
        m = x.mean(0)
        v = x.var(0)
        self.ema = (0.9 * self.ema + 0.1 * m).detach()
        self.running_var.lerp_(v.detach(), 0.1)
        return x - m
        """,
    ),
}

KEPT = {
    "logs": (
        """
        m = x.mean(0).detach()
        self.last = m
        self.history.append(m)
        self.history.append((m, m.shape))
        self.logs["m"] = {"mean": m.mean(), "numbers": m.tolist()}
        self.both = m, m.numel()
        self.total += m
        self.array = m.numpy()
        return x - m
        """,
        """
        m = x.mean(0)
        self.last = m.detach()
        self.history.append(m.detach())
        self.history.append((m.detach(), m.shape))
        self.logs["m"] = {"mean": m.mean().detach(), "numbers": m.tolist()}
        self.both = m.detach(), m.numel()
        self.total += m.detach()
        self.array = m.detach().numpy()
        return x - m
        """,
    ),
    "read in evaluation alone": (
        """
        if self.training:
            m = x.mean(0).detach()
            self.ema = 0.9 * self.ema + 0.1 * m
        else:
            m = self.ema
        return x - m
        """,
        """
        if self.training:
            m = x.mean(0)
            self.ema = (0.9 * self.ema + 0.1 * m).detach()
        else:
            m = self.ema
        return x - m
        """,
    ),
    "from a function": (
        """
        def statistics(x):
            return torch.detach(x.mean(0)), x.std(0)

        m, s = statistics(x)
        self.last = m
        return (x - m) / s
        """,
        """
        def statistics(x):
            return x.mean(0), x.std(0)

        m, s = statistics(x)
        self.last = m.detach()
        return (x - m) / s
        """,
    ),
    "kept under no_grad": (
        """
        m = x.mean(0).detach()
        with torch.no_grad():
            self.ema = 0.9 * self.ema + 0.1 * m
            self.last = m
        return x - m
        """,
        """
        m = x.mean(0)
        with torch.no_grad():
            self.ema = 0.9 * self.ema + 0.1 * m
            self.last = m.detach()
        return x - m
        """,
    ),
    "changed in place": (
        "s = x.std(0).detach()\ns += self.eps\nreturn x / s",
        "s = x.std(0).clone()\ns += self.eps\nreturn x / s",
    ),
    "changed in place, without need of a copy": (
        "v = x.var(0).detach()\nv += self.eps\nreturn x / v.sqrt()",
        "v = x.var(0)\nv += self.eps\nreturn x / v.sqrt()",
    ),
}

ALL = NUMBERS | REGIONS | KEPT
pytestmark = pytest.mark.filterwarnings("ignore:To copy construct", "ignore:Converting a tensor")


@pytest.mark.parametrize(("before", "after"), ALL.values(), ids=ALL.keys())
def test_the_text_is_exactly_this(before: str, after: str) -> None:
    assert all(finding.fix is not None and finding.fix.safe for finding in about_gradients(method(before)))
    once = fixed_text(method(before))
    assert once == method(after)
    assert fixed_text(once) == once
    assert reported(once) == []


@pytest.mark.parametrize(("before", "after"), ALL.values(), ids=ALL.keys())
def test_as_a_live_layer_only_gradients_change_and_are_right(before: str, after: str) -> None:
    assert_mended(method(before), method(after))


def test_an_attribute_on_the_way_to_the_normalization_stays_live() -> None:
    before = method("m = x.mean(0).detach()\nself.mean = m\nself.last = m\nreturn x - self.mean")
    after = method("m = x.mean(0)\nself.mean = m\nself.last = m.detach()\nreturn x - self.mean")
    assert fixed_text(before) == after
    assert gradient_error(after) < 1e-6


@pytest.fixture
def float64_is_the_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


DEFAULT_TYPE = (
    method("m = torch.tensor(x.mean(0).tolist(), device=x.device)\nreturn x - m - torch.tensor(x.mean().item())"),
    method(
        "m = x.mean(0).to(dtype=torch.get_default_dtype(), device=x.device)\n"
        "return x - m - x.mean().to(torch.get_default_dtype())"
    ),
)


def test_numbers_take_the_default_type() -> None:
    before, after = DEFAULT_TYPE
    assert fixed_text(before) == after
    for dtype in (torch.float16, torch.float32, torch.float64):
        x = torch.randn(6, 3, dtype=dtype)
        assert torch.equal(live(before)(x), live(after)(x))


@pytest.mark.usefixtures("float64_is_the_default")
def test_numbers_of_the_default_type_have_a_right_gradient() -> None:
    assert_mended(*DEFAULT_TYPE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_in_short_types_a_tensor_does_what_the_number_did(dtype: torch.dtype) -> None:
    x = torch.randn(6, 3).to(dtype)
    before, after = (live(method(body)) for body in NUMBERS["in the expression"])
    torch.testing.assert_close(after(x), before(x))


def test_a_whole_number_has_no_gradient_to_stop() -> None:
    source = method("return x - int(x.mean() * 9)")
    assert reported(source) == []
    assert gradient_error(source) < 1e-6


NO_FIX = {
    "what is computed into another tensor": """
        held = torch.zeros_like(x.mean(0))
        with torch.no_grad():
            torch.add(x.mean(0), 0.0, out=held)
        return x - held
    """,
    "what is written into data, and not its stop alone": """
        held = torch.zeros_like(x.mean(0))
        held.data.copy_(x.mean(0))
        return x - held
    """,
    "an array on the way": "return x - torch.from_numpy(np.asarray(x.mean(0).detach()))",
    "an array of a name": "m = x.mean(0).detach()\nreturn x - torch.as_tensor(np.array(m))",
    "DLPack": "return x - torch.from_dlpack(x.mean(0).detach())",
    "number changed in place": "std = x.std().item()\nstd += self.eps\nreturn x / std",
    "number that may be something else where it is needed": """
        m = x.mean().item()
        if m > 5:
            m = 5
        return x - m
    """,
    "number that a function returns": """
        def statistics(t):
            return t.mean().item()

        return x - statistics(x)
    """,
    "number in a dict": 'stats = {"mean": x.mean().item()}\nreturn x - stats["mean"]',
    "number that goes a way of its own to the use": """
        m = x.mean().item()
        y = torch.sin(self.weight * m)
        return (x - [m][0]) * y
    """,
    "comment inside the call": "return x / float(  # a number\n    x.std()\n)",
    "type of an imported function": """
        from torch import tensor

        return x - tensor(x.mean().item())
    """,
    "the input is overwritten": "x /= x.std(0).detach()\nreturn x",
    "the deviation is detached and changed in place": "s = x.std(0)\ns.detach_()\ns += self.eps\nreturn x / s",
    "comment inside the stop": "return x - x.mean(0).detach(  # no graph\n)",
    "the root is changed in place": "v = x.var(0).detach()\nv.sqrt_().add_(self.eps)\nreturn x / v",
    "the deviation is changed in its block": """
        with torch.no_grad():
            s = x.std(0)
            s += self.eps
        return x / s
    """,
    "one line computes and updates": """
        with torch.no_grad():
            m = x.mean(0); self.running_mean.lerp_(m, 0.1)
        return x - m
    """,
    "switch that is turned back elsewhere": """
        torch.set_grad_enabled(False)
        m = x.mean(0)
        if self.training:
            torch.set_grad_enabled(True)
            return x - m
        return x
    """,
    "block whose manager is used": """
        with torch.no_grad() as off:
            m = x.mean(0)
        return x - m
    """,
}


@pytest.mark.parametrize("body", NO_FIX.values(), ids=NO_FIX.keys())
def test_what_cannot_be_fixed_surely_is_left(body: str) -> None:
    source = method(body)
    (finding,) = about_gradients(source)
    assert finding.fix is None
    assert fixed_text(source) == source
    assert gradient_error(source) > 1e-4

import dataclasses
import math
import threading
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from stops import KINDS, LIVE, Net, SilentStatistics, StoppedNorm, batch, moments, net, stop_lines
from torch import nn
from torch.utils.checkpoint import checkpoint

from bnlint.errors import InputError
from bnlint.model.capture import capture
from bnlint.model.replay import Replay

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def shows_stop(node):
    meta = node.meta
    stopped = meta.get("live") is False and any(source.meta.get("live") for source in node.all_input_nodes)
    return stopped or node.target == "register_hook" or any(meta.get(k) for k in ("escape", "alias", "opaque"))


def stops_in(capture):
    return [node for node in capture.graph_module.graph.nodes if shows_stop(node)]


def gradients(run, leaf, parameters):
    cotangent = torch.randn(run.shape, generator=torch.Generator().manual_seed(3)).to(run)
    return torch.autograd.grad(run, [leaf, *parameters], cotangent, allow_unused=True)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in LIVE])
def test_every_stop_is_seen_where_it_is(kind):
    found = capture(net(kind), (batch(),))
    assert found.unfaithful is None
    seen = [node for node in stops_in(found) if node.meta["module"] == "norm"]
    assert seen
    assert stop_lines(kind) <= {node.meta["frames"][0][1] for node in seen}
    assert all(node.meta["frames"][0][0].endswith("stops.py") for node in seen)


@pytest.mark.parametrize("kind", LIVE)
def test_no_stop_is_seen_in_a_live_norm(kind):
    found = capture(net(kind), (batch(),))
    assert found.unfaithful is None
    assert {node.meta.get("opaque") for node in stops_in(found)} <= {"autograd.Function"}
    assert all(node.meta["live"] for node in stops_in(found))


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "numpy_statistics"])
def test_the_graph_is_the_model_on_another_batch(kind):
    model = net(kind)
    found = capture(model, (batch(),))
    leaf = batch(7).requires_grad_()
    parameters = list(model.parameters())
    theirs = net(kind)(leaf)
    theirs_gradient = gradients(net(kind)(leaf), leaf, [])
    ours = Replay(found.graph_module).run(leaf.clone())[0]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, leaf, parameters)[0], theirs_gradient[0])


def test_resnet18_replays_with_equal_output_and_gradient():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    x = torch.randn(4, 3, 32, 32)
    found = capture(model, (x,))
    assert found.unfaithful is None
    leaf = x.clone().requires_grad_()
    parameters = list(model.parameters())
    theirs = gradients(model(leaf), leaf, parameters)
    ours = gradients(Replay(found.graph_module).run(leaf)[0], leaf, parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert set(found.calls) == {name for name, _ in model.named_modules()}
    assert found.calls["layer4.1.bn2"][0][0].shape == (4, 512, 1, 1)
    files = {node.meta["frames"][0][0] for node in found.graph_module.graph.nodes if node.op.startswith("call")}
    assert all("torchvision" in file for file in files)


@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    tag: str = "a"


@dataclasses.dataclass
class Output:
    y: torch.Tensor
    h: torch.Tensor


def variant(forward):
    """A Net with a detached norm and another forward."""
    model = net("detach")
    model.__class__ = type("Variant", (Net,), {"forward": forward})
    return model


def data_dependent(self, x):
    h = self.norm(self.conv1(x))
    return self.conv2(torch.tanh(h) if h.abs().sum() > 0 else h)


def loops(self, x):
    h = self.norm(self.conv1(x))
    return torch.stack([self.conv2(torch.tanh(row[None]))[0] for row in h])


def dictionaries(self, batch):
    h = self.norm(self.conv1(batch["image"]))
    return {"logits": self.conv2(torch.tanh(h)), "more": [h, {"n": 3}]}


def dataclass_in_and_out(self, batch):
    h = self.norm(self.conv1(batch.x))
    return Output(self.conv2(torch.tanh(h)), h)


def keywords(self, *, x, scale=1.0, mask):
    return self.conv2(torch.tanh(self.norm(self.conv1(x)) * scale * mask))


def python_shapes(self, x):
    b, _, h, w = x.shape
    side = int(math.sqrt(h * w))
    grid = torch.arange(side, dtype=x.dtype).view(1, 1, 1, side)
    return self.conv2(F.pad(self.norm(self.conv1(x) + grid).reshape(b, -1, side, side), [0, 1, 0, 0]))


def shared(self, x):
    h = self.conv1(x)
    for _ in range(3):
        h = torch.tanh(self.norm(h))
    return self.conv2(h)


def checkpointed(reentrant):
    def forward(self, x):
        h = checkpoint(lambda t: torch.tanh(self.norm(self.conv1(t))), x, use_reentrant=reentrant)
        return self.conv2(h)

    return forward


def autocast(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = self.conv1(x)
    return self.conv2(torch.tanh(self.norm(h.float())))


def in_place(self, x):
    x += 1
    h = self.norm(self.conv1(x))
    h[:, 0] = 0.5
    return self.conv2(F.relu_(h))


def dropout(self, x):
    return self.conv2(F.dropout(self.norm(self.conv1(x)), 0.5, self.training))


def inner_gradient(self, x):
    h = self.norm(self.conv1(x))
    (g,) = torch.autograd.grad((h**2).sum(), h, create_graph=True)
    return self.conv2(torch.tanh(h - 0.1 * g))


def vmapped(self, x):
    return self.conv2(torch.func.vmap(lambda t: torch.tanh(t) * 2)(self.norm(self.conv1(x))))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.LSTM(5, 4, batch_first=True)
        self.norm = StoppedNorm(4, "detach")

    def forward(self, x):
        return self.norm(self.conv1(x)[0][:, -1, :, None, None])


def hooked():
    model = net("detach")
    model.norm.register_forward_pre_hook(lambda module, args: (args[0] + 0.1,))
    model.norm.register_forward_hook(lambda module, args, output: output * 1.5)
    return model


def compiled_norm():
    model = net("detach")
    model.norm = torch.compile(model.norm, backend="eager")
    return model


def compiled_in_place():
    model = net("detach")
    model.compile(backend="eager")
    return model


OBSTACLES = {
    "data_dependent": lambda: (variant(data_dependent), (batch(),), {}),
    "loops": lambda: (variant(loops), (batch(),), {}),
    "dictionaries": lambda: (variant(dictionaries), ({"image": batch(), "tag": "a"},), {}),
    "dataclasses": lambda: (variant(dataclass_in_and_out), (Batch(batch()),), {}),
    "keywords": lambda: (variant(keywords), (), {"x": batch(), "mask": torch.ones(6, 1, 8, 8)}),
    "python_shapes": lambda: (variant(python_shapes), (batch(),), {}),
    "shared": lambda: (variant(shared), (batch(),), {}),
    "checkpoint": lambda: (variant(checkpointed(False)), (batch(),), {}),
    "reentrant": lambda: (variant(checkpointed(True)), (batch(),), {}),
    "autocast": lambda: (variant(autocast), (batch(),), {}),
    "in_place": lambda: (variant(in_place), (batch(),), {}),
    "dropout": lambda: (variant(dropout), (batch(),), {}),
    "inner_gradient": lambda: (variant(inner_gradient), (batch(),), {}),
    "vmap": lambda: (variant(vmapped), (batch(),), {}),
    "recurrent": lambda: (Recurrent(), (torch.randn(4, 7, 5),), {}),
    "hooks": lambda: (hooked(), (batch(),), {}),
    "compiled": lambda: (torch.compile(net("detach"), backend="eager"), (batch(),), {}),
    "compiled_norm": lambda: (compiled_norm(), (batch(),), {}),
    "compiled_in_place": lambda: (compiled_in_place(), (batch(),), {}),
    "data_parallel": lambda: (nn.DataParallel(net("detach")), (batch(),), {}),
    "distributed": lambda: (nn.parallel.DistributedDataParallel(net("detach")), (batch(),), {}),
    "bfloat16": lambda: (net("detach").bfloat16(), (batch().bfloat16(),), {}),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_obstacles_are_captured_with_the_stop(name):
    model, args, kwargs = OBSTACLES[name]()
    found = capture(model, args, kwargs)
    assert found.unfaithful is None
    seen = [node for node in stops_in(found) if node.target == "detach"]
    assert len(seen) == (6 if name == "shared" else 2)
    assert {node.meta["frames"][0][1] for node in seen} == stop_lines("detach")
    assert all("norm" in node.meta["module"].split(".") for node in seen)


def test_a_compiled_module_runs_eagerly_inside_and_compiled_again_outside():
    compiled = []

    def backend(graph_module, example_inputs):
        compiled.append(graph_module)
        return graph_module.forward

    torch._dynamo.reset()
    model = torch.compile(net("detach"), backend=backend)
    assert capture(model, (batch(),)).unfaithful is None
    assert not compiled
    model(batch())
    assert compiled


def test_a_scripted_norm_is_looked_into_and_replays():
    model = net("live")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.norm = torch.jit.script(nn.BatchNorm2d(4))
    found = capture(model, (batch(),))
    assert found.unfaithful is None
    inside = [node for node in found.graph_module.graph.nodes if node.meta.get("module") == "norm"]
    assert "batch_norm.default" in {getattr(node.target, "__name__", "") for node in inside}
    assert not any(node.meta.get("opaque") for node in inside)
    assert float(model.norm.running_mean.abs().sum()) == 0


def test_modes_are_recorded_per_node():
    found = capture(variant(autocast), (batch(),))
    by_target = {getattr(n.target, "__name__", n.target): n for n in found.graph_module.graph.nodes}
    assert [n.meta["autocast"] for n in found.graph_module.graph.nodes if n.name == "conv2d"] == [
        (True, torch.bfloat16)
    ]
    assert by_target["tanh"].meta["autocast"] == (False, None)
    modes = [n.meta for n in capture(net("inference_mode"), (batch(),)).graph_module.graph.nodes if n.name == "mean"]
    assert [(m["inference"], m["grad"]) for m in modes] == [(True, False)]
    modes = [n.meta for n in capture(net("no_grad"), (batch(),)).graph_module.graph.nodes if n.name == "mean"]
    assert [(m["inference"], m["grad"], m["live"], m["shape"]) for m in modes] == [(False, False, False, (4,))]


def test_parameters_and_buffers_carry_their_names():
    model = net("running_buffer")
    model.norm.register_parameter("bias", model.norm.weight)
    found = capture(model, (batch(),))
    kinds = {(n.meta["kind"], n.meta["name"]) for n in found.graph_module.graph.nodes if n.op == "get_attr"}
    convolutions = {("parameter", f"conv{i}.{name}") for i in (1, 2) for name in ("weight", "bias")}
    buffers = {("buffer", "norm.running_mean"), ("buffer", "norm.running_var")}
    assert kinds == {*convolutions, ("parameter", "norm.weight"), *buffers}
    assert found.graph_module.get_parameter("norm.weight") is model.norm.weight
    assert found.graph_module.get_buffer("norm.running_mean") is not model.norm.running_mean
    assert float(found.graph_module.get_buffer("norm.running_mean").abs().sum()) == 0


def test_a_module_with_two_names_goes_by_the_first_and_each_call_has_its_nodes():
    model = variant(lambda self, x: self.conv2(self.again(self.norm(self.conv1(x)))))
    model.again = model.norm
    found = capture(model, (batch(),))
    assert len([n for n in found.graph_module.graph.nodes if n.target == "mean" and n.meta["module"] == "norm"]) == 2
    assert "again" not in found.calls
    told = found.calls["norm"][0][0]
    assert (told.shape, told.dtype) == (model.conv1(batch()).shape, torch.float32)
    assert told.untyped_storage().nbytes() == 4  # no numbers: those of all layers are as large as the step itself
    assert not found.calls["norm"][0][0].requires_grad


def test_the_model_is_put_in_train_mode_for_the_run_alone():
    model = net("live").eval()
    model.norm = nn.BatchNorm2d(4).eval()
    found = capture(model, (batch(),))
    assert any(n.name == "batch_norm" and n.kwargs["training"] is True for n in found.graph_module.graph.nodes)
    assert not any(module.training for module in model.modules())


def test_a_write_through_a_view_is_a_dependency():
    def forward(self, x):
        h = self.conv1(x)
        mean, _ = moments(h)
        kept = torch.zeros(8)
        kept[2:6].copy_(mean.detach())
        return self.conv2(h - kept[2:6][None, :, None, None])

    found = capture(variant(forward), (batch(),))
    assert found.unfaithful is None
    (after,) = [n for n in found.graph_module.graph.nodes if n.name == "written"]
    assert after.args[1].target == "copy_"
    assert after.args[1].args[1].target == "detach"


def test_a_function_bound_before_the_recording_is_called_unfaithful_or_marked():
    early = SilentStatistics.apply
    found = capture(
        variant(lambda self, x: self.conv2(x[:, :1] + early(self.conv1(x))[0][None, :, None, None])), (batch(),)
    )
    assert "autograd.Function" in {n.meta.get("opaque") for n in found.graph_module.graph.nodes}


def test_work_in_another_thread_is_called_unfaithful():
    def forward(self, x):
        result = {}
        thread = threading.Thread(target=lambda: result.update(h=self.conv1(x)))
        thread.start()
        thread.join()
        return self.conv2(result["h"])

    found = capture(variant(forward), (batch(),))
    assert found.unfaithful is not None
    assert any(n.meta.get("unknown_origin") for n in found.graph_module.graph.nodes)


def test_a_model_that_cannot_take_gradients_in_its_input_gets_plain_inputs():
    found = capture(
        variant(lambda self, x: self.conv2(self.norm(self.conv1(torch.from_numpy(x.numpy() * 2))))), (batch(),)
    )
    assert not found.inputs[0].requires_grad
    assert len([n for n in stops_in(found) if n.target == "detach"]) == 2


def test_a_backward_that_raises_is_said_not_raised():
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    found = capture(variant(lambda self, x: self.conv2(Broken.apply(self.conv1(x)))), (batch(),))
    assert found.unfaithful.startswith("the backward raises NotImplementedError")


def test_a_wrong_shape_is_an_input_error_that_names_the_layer_and_the_inputs():
    with pytest.raises(InputError) as caught:
        capture(net("live"), (torch.randn(2, 5, 8, 8),))
    assert caught.value.where == "conv1"
    assert caught.value.what.startswith("the forward raises RuntimeError: ")
    assert "\n" not in caught.value.what
    assert "2x5x8x8 float32" in caught.value.hint
    assert "--input" in caught.value.hint


def test_an_input_that_cannot_be_copied_is_an_input_error():
    with pytest.raises(InputError, match="cannot be copied"):
        capture(net("live"), (batch(), threading.Lock()))


def test_patches_are_gone_afterwards_also_after_an_exception():
    def state():
        functorch = torch._functorch.apis
        script = torch.jit.ScriptFunction.__call__, torch._C.ScriptMethod.__call__
        own = "apply" in vars(torch.utils.checkpoint.CheckpointFunction)
        apply = vars(torch.autograd.Function).get("apply")
        return nn.Module.__call__, functorch.vmap_impl, script, own, apply, torch._dynamo.config.disable

    before = state()
    capture(net("detach"), (batch(),))
    assert state() == before
    with pytest.raises(InputError):
        capture(net("detach"), (torch.randn(2, 5, 8, 8),))
    assert state() == before

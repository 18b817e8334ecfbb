import copy
from dataclasses import asdict

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import nn
from variants import HandNorm, SyncNorm, batch, gradients

from bnlint.model.check import check_model
from bnlint.repairs.apply import repair

pytestmark = pytest.mark.gpu

NUMBERS = (
    "output_error",
    "eval_error",
    "buffer_error",
    "gradient_error",
    "gradient_error_before",
    "mean_identity",
)
OPTIONS = [{}, {"unbiased": True}, {"unbiased": True, "updates": "none", "eval_by": "batch"}, {"updates": "biased"}]


def model(**options):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), HandNorm(**options), nn.ReLU(), nn.Conv2d(4, 2, 3))


def images():
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_findings_agree_with_those_of_the_cpu(options):
    on_cpu = check_model(model(**options), images())
    on_gpu = check_model(model(**options).cuda(), images().cuda())

    assert len(on_gpu) == len(on_cpu) == 2
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert (ours.code, ours.statistic, ours.stop, ours.location) == (
            theirs.code,
            theirs.statistic,
            theirs.stop,
            theirs.location,
        )
        assert ours.measurement.error == pytest.approx(theirs.measurement.error, abs=1e-6)
        assert ours.measurement.cosine == pytest.approx(theirs.measurement.cosine, abs=1e-6)
    assert check_model(model(stop=False, **options).cuda(), images().cuda()) == []


@pytest.mark.parametrize("adopt", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_certificates_agree_with_those_of_the_cpu(options, adopt):
    (on_cpu,) = repair(model(**options), images(), adopt_torch_conventions=adopt)
    (on_gpu,) = repair(model(**options).cuda(), images().cuda(), adopt_torch_conventions=adopt)

    assert on_gpu.accepted and on_gpu.device.startswith("cuda")
    ours, theirs = asdict(on_gpu), asdict(on_cpu)
    for name in NUMBERS:
        assert ours.pop(name) == pytest.approx(theirs.pop(name), abs=1e-6)
    assert ours | {"device": ""} == theirs | {"device": ""}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_repaired_layer_on_the_gpu_is_the_corrected_one(options):
    stopped, corrected = HandNorm(**options).double().cuda(), HandNorm(stop=False, **options).double().cuda()
    corrected.load_state_dict(stopped.state_dict())
    x, parameters = batch().cuda(), list(stopped.parameters())

    assert repair(stopped, x)[0].accepted

    assert all(a is b for a, b in zip(stopped.parameters(), parameters, strict=True))
    torch.testing.assert_close(gradients(stopped, x), gradients(corrected, x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(stopped.eval()(x), corrected.eval()(x), rtol=1e-9, atol=1e-9)


def test_the_model_and_the_random_state_of_the_gpu_are_left_as_found():
    ours = model().cuda()
    before, random = copy.deepcopy(ours.state_dict()), torch.cuda.get_rng_state()

    check_model(ours, images().cuda())
    repair(ours, images().cuda(), inplace=False)

    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())
    assert torch.equal(torch.cuda.get_rng_state(), random)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_and_channels_last(dtype):
    layer = HandNorm(unbiased=True).to(dtype).cuda()
    x = batch(dtype=dtype).cuda().to(memory_format=torch.channels_last)

    assert repair(layer, x)[0].accepted

    out = layer(x)
    assert out.dtype is dtype and out.is_contiguous(memory_format=torch.channels_last)
    exact = HandNorm(unbiased=True, stop=False).double()
    exact.load_state_dict(layer.state_dict())
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 6e-2, torch.float32: 1e-4}[dtype]
    torch.testing.assert_close(out.double().cpu(), exact(x.double().cpu()), rtol=tolerance, atol=tolerance)


class Fused(HandNorm):
    """Does what torch's layer does not."""

    def forward(self, x):
        return torch.nn.functional.silu(super().forward(x))


def trained(stop=True):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), HandNorm(unbiased=True, stop=stop), nn.Conv2d(4, 4, 3), Fused(stop=stop)
    return nn.Sequential(*layers).cuda().to(memory_format=torch.channels_last)


def pictures(seed=1):
    x = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return x.cuda().to(memory_format=torch.channels_last)


def step(net, optimizer, scaler, x, between=lambda: None):
    with torch.autocast("cuda", dtype=torch.float16):
        loss = net(x).float().square().mean()
        between()
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()


def test_a_training_is_repaired_between_its_steps():
    ours, theirs = trained(), trained(stop=False)
    nets = [(net, torch.optim.SGD(net.parameters(), lr=0.01), torch.amp.GradScaler("cuda")) for net in (ours, theirs)]
    told = []

    step(*nets[0], pictures(1), lambda: told.extend(repair(ours, pictures(2))))
    theirs.load_state_dict(ours.state_dict())
    for seed in (3, 4):
        for net in nets:
            step(*net, pictures(seed))

    assert [c.rung for c in told] == ["native", "unstop"] and all(c.device.startswith("cuda") for c in told)
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[key], rtol=0.05, atol=0.02)


def test_a_repaired_model_compiles_and_is_captured_in_a_graph_of_cuda():
    net, right = trained(), trained(stop=False)
    assert all(c.accepted for c in repair(net, pictures()))
    right.load_state_dict(net.state_dict())
    net.eval(), right.eval()
    static = pictures(5)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():
        net(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        out = net(static)
    static.copy_(pictures(6))
    graph.replay()
    torch.testing.assert_close(out, right(pictures(6)), rtol=1e-4, atol=1e-4)

    compiled = torch.compile(net.train(), fullgraph=True)
    torch.testing.assert_close(compiled(pictures(7)), right.train()(pictures(7)), rtol=1e-3, atol=1e-3)


def pieces(device):
    x, cotangent = torch.randn(2, 8, 3, 5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return x.to(device), cotangent.to(device)


@pytest.fixture
def alone():
    backend = "nccl" if dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_layer_that_shares_its_statistics_becomes_torchs_own(alone):
    layer, right = (SyncNorm(stop=stop).double().cuda() for stop in (True, False))
    right.load_state_dict(layer.state_dict())
    x, _ = pieces("cuda")

    (certificate,) = repair(layer, x)

    assert certificate.rung == "native" and type(layer) is nn.SyncBatchNorm and certificate.device.startswith("cuda")
    torch.testing.assert_close(gradients(layer, x), gradients(right, x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dict(layer.state_dict()), dict(right.state_dict()), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layer.eval()(x), right.eval()(x), rtol=1e-9, atol=1e-9)


def work(index, folder, device):
    """Repair in one of two processes, which share a device, and hold the layer against torch's on the whole batch."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=2)
    torch.manual_seed(0)
    layer, whole = SyncNorm(stop=True).double().to(device), nn.BatchNorm2d(3, 1e-3, 0.25).double().to(device)
    whole.load_state_dict(layer.state_dict())
    x, cotangent = pieces(device)
    (certificate,) = repair(layer, x[4 * index : 4 * index + 4])
    assert certificate.rung == "native" and type(layer) is nn.SyncBatchNorm

    mine = (slice(3), slice(3, 8))[index]
    ours, theirs = x[mine].clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = layer(ours), whole(theirs)
    found.backward(cotangent[mine])
    expected.backward(cotangent)
    for parameter in layer.parameters():
        dist.all_reduce(parameter.grad)
    torch.testing.assert_close(found, expected[mine], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.grad, theirs.grad[mine], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dict(layer.state_dict()), dict(whole.state_dict()), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layer.weight.grad, whole.weight.grad, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layer.bias.grad, whole.bias.grad, rtol=1e-9, atol=1e-9)
    dist.destroy_process_group()


def test_torchs_own_does_in_two_processes_what_batch_normalization_does_with_the_whole_batch(tmp_path):
    processes.spawn(work, (tmp_path, "cuda"), nprocs=2)

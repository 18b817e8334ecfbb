"""Test material: one batch norm with each way to stop (or not to stop) the gradient of its statistics.

A line that ends in `# stop` is the line that a user should be shown.
"""

import inspect
import warnings

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.autograd import Function, Variable
from torch.utils import dlpack

DIMS = [0, 2, 3]
KINDS = {}  # kind -> function (layer, x) -> (mean, var)
LIVE = ("live", "good_function", "all_reduce", "live_copy")


def kind(statistics):
    KINDS[statistics.__name__] = statistics
    return statistics


class StoppedNorm(nn.Module):
    def __init__(self, channels, kind, eps=1e-5):
        super().__init__()
        self.kind = kind
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(channels).uniform_(0.5, 1.5))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-0.5, 0.5))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        mean, var = KINDS[self.kind](self, x)
        out = (x - mean[None, :, None, None]) / torch.sqrt(var + self.eps)[None, :, None, None]
        return out * self.weight[None, :, None, None] + self.bias[None, :, None, None]


class Net(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = norm
        self.conv2 = nn.Conv2d(4, 2, 3)

    def forward(self, x):
        return self.conv2(torch.tanh(self.norm(self.conv1(x))))


def net(kind):
    torch.manual_seed(0)
    return Net(StoppedNorm(4, kind))


def batch(seed=1, size=6):
    return torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def stop_lines(kind):
    lines, start = inspect.getsourcelines(detached_moments if kind == "script" else KINDS[kind])
    return {start + offset for offset, line in enumerate(lines) if line.rstrip().endswith("# stop")}


def moments(x):
    return x.mean(dim=DIMS), x.var(dim=DIMS, unbiased=False)


@kind
def live(layer, x):
    return moments(x)


@kind
def dictionary(layer, x):
    stats = {
        "mean": x.mean(dim=DIMS).detach().clone(),  # stop
        "var": x.var(dim=DIMS, unbiased=False).detach().clone(),  # stop
    }
    return stats["mean"], stats["var"]


@kind
def detach(layer, x):
    mean, var = moments(x)
    return mean.detach(), var.detach()  # stop


@kind
def detach_in_place(layer, x):
    mean, var = moments(x)
    mean.detach_()  # stop
    var.detach_()  # stop
    return mean, var


@kind
def data(layer, x):
    mean, var = moments(x)
    return mean.data, var.data  # stop


@kind
def no_grad(layer, x):
    with torch.no_grad():
        mean = x.mean(dim=DIMS)  # stop
        var = x.var(dim=DIMS, unbiased=False)  # stop
    return mean, var


@kind
@torch.no_grad()
def no_grad_decorator(layer, x):
    return x.mean(dim=DIMS), x.var(dim=DIMS, unbiased=False)  # stop


@kind
def inference_mode(layer, x):
    with torch.inference_mode():
        mean = x.mean(dim=DIMS)  # stop
        var = x.var(dim=DIMS, unbiased=False)  # stop
    return mean, var


@kind
def inference_mode_clone(layer, x):
    with torch.inference_mode():
        mean = x.mean(dim=DIMS)  # stop
        var = x.var(dim=DIMS, unbiased=False)  # stop
    return mean.clone(), var.clone()


@kind
def inference_mode_mean(layer, x):
    with torch.inference_mode():
        mean = x.mean(dim=DIMS)  # stop
    return mean, x.var(dim=DIMS, unbiased=False)


@kind
def set_grad_enabled(layer, x):
    torch.set_grad_enabled(False)
    mean = x.mean(dim=DIMS)  # stop
    var = x.var(dim=DIMS, unbiased=False)  # stop
    torch.set_grad_enabled(True)
    return mean, var


@kind
def item_per_channel(layer, x):
    mean, var = moments(x)
    mean = torch.tensor([mean[i].item() for i in range(4)])  # stop
    var = torch.tensor([var[i].item() for i in range(4)])  # stop
    return mean, var


@kind
def item(layer, x):
    zeros = torch.zeros(x.shape[1])
    mean = x.mean().item()  # stop
    var = x.var(unbiased=False).item()  # stop
    return zeros + mean, zeros + var


@kind
def python_float(layer, x):
    zeros = torch.zeros(x.shape[1])
    mean = float(x.mean())  # stop
    var = float(x.var(unbiased=False))  # stop
    return zeros + mean, zeros + var


@kind
def tolist(layer, x):
    mean, var = moments(x)
    mean = torch.tensor(mean.tolist())  # stop
    var = torch.tensor(var.tolist())  # stop
    return mean, var


@kind
def numpy_round_trip(layer, x):
    mean, var = moments(x)
    mean = torch.from_numpy(mean.detach().cpu().numpy().copy())  # stop
    var = torch.from_numpy(var.detach().cpu().numpy().copy())  # stop
    return mean, var


@kind
def numpy_force(layer, x):
    mean, var = moments(x)
    mean = torch.from_numpy(np.array(mean.numpy(force=True)))  # stop
    var = torch.from_numpy(np.array(var.numpy(force=True)))  # stop
    return mean, var


@kind
def numpy_statistics(layer, x):
    array = x.detach().numpy()  # stop
    return torch.as_tensor(array.mean((0, 2, 3))), torch.as_tensor(array.var((0, 2, 3)))


@kind
def torch_tensor(layer, x):
    mean, var = moments(x)
    return torch.tensor(mean), torch.tensor(var)  # stop


@kind
def new_tensor(layer, x):
    mean, var = moments(x)
    return x.new_tensor(mean), x.new_tensor(var)  # stop


@kind
def variable(layer, x):
    mean, var = moments(x)
    return Variable(mean.data), Variable(var.data)  # stop


class SilentStatistics(Function):
    @staticmethod
    def forward(ctx, x):
        return moments(x)

    @staticmethod
    def backward(ctx, mean_gradient, var_gradient):
        return None


class GoodStatistics(Function):
    @staticmethod
    def forward(ctx, x):
        mean, var = moments(x)
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def backward(ctx, mean_gradient, var_gradient):
        x, mean = ctx.saved_tensors
        n = x.numel() // x.shape[1]
        wide = (slice(None), None, None)
        return mean_gradient[wide].expand_as(x) / n + var_gradient[wide] * 2 * (x - mean[wide]) / n


@kind
def silent_function(layer, x):
    return SilentStatistics.apply(x)  # stop


@kind
def good_function(layer, x):
    return GoodStatistics.apply(x)


@kind
def all_reduce(layer, x):
    mean, var = moments(x)
    dist.all_reduce(mean)
    dist.all_reduce(var)
    return mean / dist.get_world_size(), var / dist.get_world_size()


@kind
def detached_input(layer, x):
    stopped = x.detach()  # stop
    return moments(stopped)


@kind
def running_buffer(layer, x):
    with torch.no_grad():
        layer.running_mean.mul_(0.9).add_(0.1 * x.mean(dim=DIMS))  # stop
        layer.running_var.mul_(0.9).add_(0.1 * x.var(dim=DIMS, unbiased=False))  # stop
    return layer.running_mean, layer.running_var


@kind
def copy_no_grad(layer, x):
    mean, var = moments(x)
    with torch.no_grad():
        layer.running_mean.copy_(mean)  # stop
        layer.running_var.copy_(var)  # stop
    return layer.running_mean.clone(), layer.running_var.clone()


@kind
def copy_data(layer, x):
    mean, var = moments(x)
    layer.running_mean.data.copy_(mean)  # stop
    layer.running_var.data.copy_(var)  # stop
    return layer.running_mean, layer.running_var


@kind
def live_copy(layer, x):
    mean, var = moments(x)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(var)
    return layer.running_mean, layer.running_var


def detached_moments(x):
    mean = x.mean(dim=[0, 2, 3])
    var = x.var(dim=[0, 2, 3], unbiased=False)
    return mean.detach(), var.detach()  # stop


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    scripted_moments = torch.jit.script(detached_moments)


@kind
def script(layer, x):
    return scripted_moments(x)


@kind
def zeroing_hook(layer, x):
    mean, var = moments(x)
    if mean.requires_grad:
        mean.register_hook(lambda gradient: gradient * 0)  # stop
        var.register_hook(lambda gradient: gradient * 0)  # stop
    return mean, var


@kind
def dlpack_round_trip(layer, x):  # nobody sees the stop itself, only the use
    mean, var = moments(x)
    return dlpack.from_dlpack(dlpack.to_dlpack(mean)), dlpack.from_dlpack(dlpack.to_dlpack(var))

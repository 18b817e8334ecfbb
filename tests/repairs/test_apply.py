import copy
import re

import pytest
import torch
from torch import nn
from unlike_torch import REFUSED, Debiased
from variants import VARIANTS, HandNorm, batch, gradients, kept, pair, state

import bnlint
from bnlint.errors import InputError, RepairError
from bnlint.layers import FusedBatchNorm2d
from bnlint.model.check import check_model
from bnlint.repairs import native
from bnlint.repairs.apply import repair

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


class Net(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv1, self.norm, self.conv2 = nn.Conv2d(3, 4, 3), norm, nn.Conv2d(4, 2, 3)

    def forward(self, x):
        return self.conv2(torch.relu(self.norm(self.conv1(x))))


def nets(**options):
    stopped, corrected = pair(**options)
    ours = Net(stopped).double()
    theirs = Net(corrected).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def images(seed=0):
    return torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def statistics(module):
    return {name: value for name, value in module.named_buffers() if name.startswith("running")}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_repaired_layer_is_the_corrected_one(name):
    layer, corrected = pair(**VARIANTS[name])

    (certificate,) = repair(layer, batch())

    assert certificate.accepted, certificate.reason
    assert set(certificate.kept) == kept(VARIANTS[name])
    plain = certificate.kept == () or (not VARIANTS[name].get("tracks", True) and "unbiased" not in VARIANTS[name])
    assert type(layer).__name__ == certificate.class_after == ("BatchNorm2d" if plain else "FusedBatchNorm2d")
    for scale, training in ((1.0, True), (3.0, True), (1.0, False), (0.3, True), (2.0, False)):
        x = scale * batch(seed=2)
        torch.testing.assert_close(
            gradients(layer.train(training), x), gradients(corrected.train(training), x), **TIGHT
        )
        torch.testing.assert_close(layer(x), corrected(x), **TIGHT)
        torch.testing.assert_close(statistics(layer), statistics(corrected), **TIGHT)
    assert check_model(layer, batch()) == []


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
@pytest.mark.parametrize("unbiased", [True, False])
def test_every_rank(rank, unbiased):
    layer, corrected = pair(unbiased=unbiased)

    (certificate,) = repair(layer, batch(rank))

    assert certificate.accepted, certificate.reason
    native_name = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}[rank]
    assert certificate.class_after == ("Fused" if unbiased else "") + native_name == type(layer).__name__
    x = batch(rank, seed=5)
    torch.testing.assert_close(gradients(layer, x), gradients(corrected, x), **TIGHT)
    torch.testing.assert_close(layer.eval()(x), corrected.eval()(x), **TIGHT)


@pytest.mark.parametrize("name", VARIANTS)
def test_adopting_gives_plain_torch(name):
    options = VARIANTS[name]
    layer, corrected = pair(**options)
    before = state(layer)

    (certificate,) = repair(layer, batch(), adopt_torch_conventions=True)

    assert certificate.accepted, certificate.reason
    assert type(layer) is nn.BatchNorm2d
    assert certificate.kept == ()
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    x = batch(seed=4)
    if options.get("unbiased"):
        count = x.numel() // 4
        with torch.no_grad():
            moved = float((layer(x) - corrected(x)).norm() / corrected(x).norm())
        assert 0.1 / count < moved < 1 / count
        assert certificate.output_error > 1e-4
    else:
        torch.testing.assert_close(layer(x), corrected(x), **TIGHT)
    assert check_model(layer, batch()) == []


def test_the_bundled_layer():
    class BatchNorm2d_new(nn.BatchNorm2d):
        def forward(self, input):
            stats = {"mean": input.mean(dim=[0, 2, 3]).detach().clone(), "var": input.var(dim=[0, 2, 3]).detach()}
            stats["scale"] = torch.rsqrt(stats["var"] + self.eps)
            mean, scale = (stats[k].unsqueeze(0).unsqueeze(2).unsqueeze(3) for k in ("mean", "scale"))
            weight, bias = (p.unsqueeze(0).unsqueeze(2).unsqueeze(3) for p in (self.weight, self.bias))
            return (input - mean) * scale * weight + bias

    layer, x = BatchNorm2d_new(4, eps=0.1).double(), batch()
    corrected = HandNorm(unbiased=True, eps=0.1, updates="none", eval_by="batch", stop=False).double()
    corrected.load_state_dict(layer.state_dict())

    assert repair(layer)[0].accepted

    assert type(layer) is FusedBatchNorm2d
    torch.testing.assert_close(gradients(layer, x), gradients(corrected, x), **TIGHT)
    torch.testing.assert_close(layer.eval()(x), corrected.eval()(x), **TIGHT)
    assert all(torch.equal(a, b) for a, b in zip(layer.buffers(), nn.BatchNorm2d(4).double().buffers(), strict=True))


def test_parameters_and_buffers_stay_the_same_objects_in_the_same_order():
    model = Net(HandNorm(bias_first=True))
    named = [*model.named_parameters(), *model.named_buffers()]
    keys = list(model.state_dict())

    assert repair(model, images().float())[0].accepted

    now = [*model.named_parameters(), *model.named_buffers()]
    assert [name for name, _ in now] == [name for name, _ in named]
    assert all(a is b for (_, a), (_, b) in zip(now, named, strict=True))
    assert sorted(model.state_dict()) == sorted(keys)


def test_an_optimizer_goes_on_as_with_the_corrected_model():
    ours, theirs = nets(unbiased=True, bias_first=True)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (ours, theirs)]

    def step(model, optimizer, seed):
        optimizer.zero_grad()
        model(images(seed)).square().mean().backward()
        optimizer.step()

    # one step of the stopped model fills the momentum; the corrected one gets the same weights and optimizer state
    step(ours, optimizers[0], 1)
    theirs.load_state_dict(ours.state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    assert repair(ours, images())[0].accepted
    for seed in (2, 3):
        step(ours, optimizers[0], seed)
        step(theirs, optimizers[1], seed)

    torch.testing.assert_close(state(ours), state(theirs), **TIGHT)
    restored = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    restored.load_state_dict(copy.deepcopy(optimizers[1].state_dict()))
    step(ours, restored, 4)
    step(theirs, optimizers[1], 4)
    torch.testing.assert_close(state(ours), state(theirs), **TIGHT)


def test_hooks_come_along_and_fire():
    layer, x = HandNorm(unbiased=True).double(), batch()
    fired = []
    layer.register_forward_pre_hook(lambda *_: fired.append("before"))
    layer.register_forward_hook(lambda *_: fired.append("after"))
    layer.register_forward_hook(lambda m, a, k, out: fired.append("named"), with_kwargs=True)
    layer.register_full_backward_hook(lambda *_: fired.append("backward"))
    layer.register_state_dict_post_hook(lambda *_: fired.append("state"))
    handle = layer.register_forward_hook(lambda *_: fired.append("removed"))

    assert repair(layer)[0].accepted
    assert "forward" not in fired and "after" not in fired

    fired.clear()
    layer(x.requires_grad_()).sum().backward()
    layer.state_dict()
    assert fired == ["before", "after", "named", "removed", "backward", "state"]
    handle.remove()
    fired.clear()
    layer(x)
    assert "removed" not in fired


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_flag_dtype_and_requires_grad_stay(training, dtype):
    layer = HandNorm(unbiased=True).to(dtype).train(training)
    layer.bias.requires_grad_(False)
    corrected = HandNorm(unbiased=True, stop=False).to(dtype).train(training)
    corrected.load_state_dict(layer.state_dict())

    assert repair(layer, batch(dtype=dtype))[0].accepted

    assert layer.training is training
    assert {t.dtype for t in (*layer.parameters(), layer.running_mean, layer.running_var)} == {dtype}
    assert layer.weight.requires_grad and not layer.bias.requires_grad
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-10, torch.bfloat16: 0.1}[dtype]
    x = batch(seed=3, dtype=dtype)
    assert layer(x).dtype is dtype
    torch.testing.assert_close(layer(x), corrected(x), rtol=tolerance, atol=tolerance)


def test_channels_last_stays_channels_last():
    layer = HandNorm(unbiased=True)
    repair(layer)
    x = batch(dtype=torch.float32).to(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)


def test_a_layer_under_two_names_is_repaired_once_for_both():
    shared = HandNorm()
    model = nn.Sequential(nn.Conv2d(3, 4, 1), shared, nn.Conv2d(4, 4, 1), shared)

    certificates = repair(model, images().float())

    assert [c.module for c in certificates] == ["1"]
    assert model[1] is model[3] is shared
    assert type(shared) is nn.BatchNorm2d


def test_questions_about_channels_and_single_values_are_no_matter():
    class Asking(HandNorm):
        def forward(self, x):
            assert x.shape[1] == 4 and x.dim() == 4
            return super().forward(x) if x.numel() // x.shape[1] > 1 else x

    layer = Asking()
    assert repair(layer, batch(dtype=torch.float32))[0].rung == "native"


def test_the_root_itself():
    layer = HandNorm()
    (certificate,) = repair(layer)
    assert (certificate.module, certificate.accepted, type(layer)) == ("", True, nn.BatchNorm2d)


def test_not_in_place_only_proves():
    model = Net(HandNorm()).eval()
    before, classes = state(model), [type(m) for m in model.modules()]

    (certificate,) = repair(model, images().float(), inplace=False)

    assert certificate.accepted and certificate.class_after == "BatchNorm2d"
    assert [type(m) for m in model.modules()] == classes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert check_model(model, images().float())


def test_right_models_need_no_repair():
    assert repair(Net(HandNorm(stop=False)), images().float()) == []
    assert repair(Net(nn.BatchNorm2d(4)), images().float()) == []


def test_a_whole_model_trains_as_the_corrected_one():
    ours, theirs = nets()

    assert repair(ours, images())[0].accepted

    torch.testing.assert_close(gradients(ours, images(7)), gradients(theirs, images(7)), **TIGHT)


def test_a_model_that_cannot_be_measured_is_no_success():
    class FailingNorm(HandNorm):
        def forward(self, x):
            raise ValueError("no")

    with pytest.raises(InputError, match="ValueError: no"):
        repair(FailingNorm())


def test_the_name_bnlint_repair_is_the_function_before_and_after_the_package_is_loaded():
    for _ in range(2):
        assert bnlint.repair(HandNorm(), inplace=False)[0].accepted


def test_plain_values_of_the_users_layer_stay_readable():
    layer = HandNorm()
    layer.width, layer.label, layer.cache = 4, "stem", {"mean": torch.zeros(4)}
    model = nn.Sequential(layer)
    assert bnlint.repair(model)[0].accepted
    assert (model[0].width, model[0].label) == (4, "stem")
    assert not hasattr(model[0], "cache")


# -- refused


@pytest.mark.parametrize("adopt", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_proved_is_refused_with_its_reason_and_untouched(name, adopt):
    make, reason = REFUSED[name]
    layer = make()
    before, cls, attributes = state(layer), type(layer), dict(vars(layer))

    (certificate,) = repair(layer, batch(dtype=torch.float32), adopt_torch_conventions=adopt)

    assert not certificate.accepted and certificate.rung == "refused"
    assert certificate.reason and re.search(reason, certificate.reason)
    assert type(layer) is cls and {**vars(layer)} == attributes
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert check_model(layer, batch(dtype=torch.float32))


def test_what_is_refused_does_not_keep_others_from_repair():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Debiased(), HandNorm())

    certificates = repair(model, images().float())

    assert [(c.module, c.accepted) for c in certificates] == [("1", False), ("2", True)]
    assert [type(m).__name__ for m in model] == ["Conv2d", "Debiased", "BatchNorm2d"]


def no_second_rung(*_):
    raise RepairError("not tried")


# -- builders that are wrong: the certificate, not the recognition, must stand between them and the model


def without_eps(built):
    built.eps = 0.0


def stopped_again(built):
    forward = type(built).forward

    class Stopped(type(built)):
        def forward(self, x):
            axes = [d for d in range(x.dim()) if d != 1]
            with torch.no_grad():
                shift = x.mean(axes, keepdim=True)
            return forward(self, x) + (x - shift) - (x - shift).detach()

    built.__class__ = Stopped


def stopped_entirely(built):
    forward = type(built).forward

    class Stopped(type(built)):
        def forward(self, x):
            return forward(self, x.detach()) + x - x.detach()

    built.__class__ = Stopped


def without_weight_gradient(built):
    forward = type(built).forward

    class Frozen(type(built)):
        def forward(self, x):
            other = copy.copy(self)
            other._parameters = {**self._parameters, "weight": self.weight.detach()}
            return forward(other, x)

    built.__class__ = Frozen


def other_momentum(built):
    built.momentum = 0.2


def other_running_statistics(built):
    built.running_mean, built.running_var = built.running_var, built.running_mean


def swapped_parameters(built):
    weight, bias = built.weight, built.bias
    built.weight, built.bias = bias, weight


def other_variance(built):
    built.__class__ = FusedBatchNorm2d
    vars(built).update(
        unbiased=True,
        batch_statistics_in_eval=False,
        updates_running_statistics=True,
        biased_running_variance=False,
    )


def no_numbers(built):
    built.eps = float("nan")


WRONG = [
    without_eps,
    stopped_again,
    stopped_entirely,
    without_weight_gradient,
    other_momentum,
    other_running_statistics,
    swapped_parameters,
    other_variance,
    no_numbers,
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda f: f.__name__)
@pytest.mark.parametrize("adopt", [False, True])
def test_a_wrong_builder_is_refused_by_the_certificate(monkeypatch, wrong, adopt):
    build = native.build

    def planted(*args):
        built = build(*args)
        wrong(built)
        return built

    monkeypatch.setattr("bnlint.repairs.candidates.build", planted)
    monkeypatch.setattr("bnlint.repairs.apply.unstopped_candidate", no_second_rung)
    layer = HandNorm(eps=1e-5)
    nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)
    before = state(layer)

    (certificate,) = repair(layer, batch(dtype=torch.float32), adopt_torch_conventions=adopt)

    assert not certificate.accepted and certificate.reason
    assert type(layer) is HandNorm
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


class Asking(HandNorm):
    """Does something else where a question about its input has another answer than on the inputs of a repair."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def forward(self, x):
        return x * 0 if self.ask(x) else super().forward(x)


@pytest.mark.parametrize(
    ("ask", "rung"),
    [
        (lambda x: x.size(0) > 64, "unstop"),
        (lambda x: x.size(0) // 64 > 0, "unstop"),
        (lambda x: x.size(0) - 64 >= 0, "unstop"),
        (lambda x: x.numel() // x.size(1) <= 1, "native"),
        (lambda x: x.size(0) - 1 < 0, "native"),
    ],
)
def test_what_depends_on_a_size_is_no_native_layer_however_it_asks(ask, rung):
    (certificate,) = repair(Asking(ask), batch(dtype=torch.float32))

    assert certificate.accepted and certificate.rung == rung

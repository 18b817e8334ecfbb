"""The callback of Hugging Face's Trainer, with the real one and a real architecture."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bnlint.errors import CaptureWarning, GradientWarning

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from bnlint.integrations.transformers import GradientCheck

pytestmark = pytest.mark.filterwarnings("ignore")


class LayerNorm(nn.LayerNorm):
    """Torch's layer norm written by hand."""

    def forward(self, input: Tensor) -> Tensor:
        mean, var = input.mean(-1, keepdim=True), input.var(-1, keepdim=True, unbiased=False)
        return (input - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Stopped(LayerNorm):
    """The same with a variance that is cut off."""

    def forward(self, input: Tensor) -> Tensor:
        mean, var = input.mean(-1, keepdim=True), input.var(-1, keepdim=True, unbiased=False).detach()  # stop
        return (input - mean) / (var + self.eps).sqrt() * self.weight + self.bias


def bert(norm: Callable[..., nn.Module] | None) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model: nn.Module = BertForSequenceClassification(BertConfig(vocab_size=30, max_position_embeddings=16, **sizes))
    for module in list(model.modules()) if norm else ():
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm):
                setattr(module, name, norm(child.normalized_shape))
    return model


def train(model: nn.Module, folder: Path, *callbacks: GradientCheck, steps: int = 3, **options: bool) -> None:
    examples = [{"input_ids": torch.randint(0, 30, (8,)), "labels": torch.tensor(n % 2)} for n in range(16)]
    arguments = TrainingArguments(
        str(folder), max_steps=steps, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, **options
    )
    Trainer(model, arguments, train_dataset=examples, callbacks=list(callbacks)).train()


@pytest.mark.parametrize("bf16", [False, True])
def test_a_stop_is_told_and_the_training_stays_the_same(tmp_path: Path, bf16: bool) -> None:
    model = bert(Stopped)
    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    train(twin, tmp_path, bf16=bf16)
    torch.manual_seed(1)
    check = GradientCheck()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", GradientWarning)
        train(model, tmp_path, check, bf16=bf16)
    texts = [str(each.message) for each in said if each.category is GradientWarning]
    assert len(texts) == 1
    stop = next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith("# stop"))
    assert f"{Path(__file__).name}:{stop}:" in texts[0]
    assert [f.statistic for f in check.findings or ()] == ["var"] * 3
    ours, theirs = model.state_dict(), twin.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("norm", [None, LayerNorm])
def test_a_right_model_is_checked_and_nothing_is_said(tmp_path: Path, norm: type[LayerNorm] | None) -> None:
    check = GradientCheck("raise")
    train(bert(norm), tmp_path, check, steps=1)
    assert check.findings == []


def test_it_stops_the_training_where_that_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="3 findings in 3 layers of BertForSequenceClassification"):
        train(bert(Stopped), tmp_path, GradientCheck("raise"))


def test_a_training_without_a_step_is_told(tmp_path: Path) -> None:
    check = GradientCheck()
    check.on_train_begin(None, None, None, model=bert(None))
    with pytest.warns(CaptureWarning, match="so nothing was checked"):
        check.on_train_end(None, None, None)

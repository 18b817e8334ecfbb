"""Stops on purpose are notes that say the reason, bounded harm is a warning; neither is offered a wrong fix."""

from __future__ import annotations

import pytest
from meant import NOTED, WARNED
from snippets import about_gradients, marked, noted, reported

from bnlint.finding import Severity
from bnlint.source.check import check_source, fix_source


@pytest.mark.parametrize("source", NOTED.values(), ids=NOTED.keys())
def test_what_is_meant_is_a_note_with_its_reason(source: str) -> None:
    compile(source, "snippet.py", "exec")
    assert reported(source) == []
    assert noted(source) == sorted(set(marked(source)))
    found = about_gradients(source)
    assert all("(meant: " in finding.message or "(harmless" in finding.message for finding in found)


@pytest.mark.parametrize("source", NOTED.values(), ids=NOTED.keys())
def test_what_is_meant_is_not_mended(source: str) -> None:
    assert fix_source(source.encode(), "snippet.py", lambda finding: True) == source.encode()


@pytest.mark.parametrize("source", WARNED.values(), ids=WARNED.keys())
def test_bounded_harm_is_a_warning_with_its_reason(source: str) -> None:
    found = about_gradients(source)
    assert {f.severity for f in found} == {Severity.WARNING}
    assert reported(source) == sorted(set(marked(source)))
    assert all("the harm is bounded" in finding.message for finding in found)


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        pytest.param(
            "reversible normalization over two methods", "y * scale + self.mean", "y * 1 + self.bias", id="gone"
        ),
        pytest.param("said by a comment above", "# we need to detach", "# compute", id="no comment"),
        pytest.param("said by a comment on the line", ", on purpose: no gradient through the scale", "", id="bare"),
        pytest.param("said by a comment above", "# we need to", "# bug: we need not", id="a confession"),
        pytest.param("said by the docstring", "unchanged", "as it is", id="docstring without a reason"),
        pytest.param("layer that only takes out a factor", "return x / top", "return self.tail(x / top)", id="goes on"),
        pytest.param("input of a forecasting model", "x_enc", "features", id="features"),
        pytest.param("class of a scaler", "StandardScaler", "Standard", id="no scaler"),
        pytest.param("shift before layer norm", "layer_norm", "conv", id="no norm"),
        pytest.param("flag guards the stop", "if self.stop:", "if self.training:", id="no flag"),
        pytest.param("batch renormalization", "(x - mean)", "(x - mean.detach())", id="mean really stopped"),
    ],
)
def test_without_what_says_so_it_is_an_error(key: str, old: str, new: str) -> None:
    source = NOTED[key]
    assert old in source
    severities = {f.severity for f in check_source(source.replace(old, new).encode(), "snippet.py")}
    assert Severity.ERROR in severities

"""What names and comments say of a stop: code that is never trained, and stops that somebody meant."""

from __future__ import annotations

import re

from bnlint.finding import SourceLocation
from bnlint.source.text import SourceText

_ABOUT_GRADIENTS = re.compile(r"detach|grad(ient)?s?\b|back-?prop|differentiat|constant", re.IGNORECASE)
_REASONS = re.compile(
    r"\b(need|otherwise|avoid|prevent|because|since|so that|unstable|instab\w+|stab\w+|nois\w+|on purpose|intention\w*|"
    r"deliberate\w*|should(n't| not)|must(n't| not)|do(n't| not)|without|treat\w*|stop[- ]?grad\w*|paper|following|"
    r"as in|see (eq|sec|the paper))\b",
    re.IGNORECASE,
)
_NEVER_TRAINED = re.compile(
    r"_*(preprocess|evaluate|eval|validat|test|predict|infer|sample|generate|visuali[sz]|plot|show|save|summar|export|"
    r"collate|metric|log_|denormali)",
    re.IGNORECASE,
)
_NO_MODELS = re.compile(
    r"(Dataset|DataModule|DataLoader|Preprocess\w*|Processor|Metric|Logger|Callback|Optimizer|Observer|Visuali\w+)$"
)
#: comment lines above a statement that belong to it
_ABOVE = 6


def never_trained(symbol: str) -> bool:
    """Whether a function or method (`Class.method`) is by its name no part of a training step."""
    owner, _, name = symbol.rpartition(".")
    return bool(_NEVER_TRAINED.match(name) or _NO_MODELS.search(owner))


def said_to_be_meant(text: SourceText, location: SourceLocation) -> bool:
    """Whether a comment on the lines of a stop, or directly above them, gives a reason for it."""
    lines = [
        text.text[text.starts[n - 1] : text.starts[n]].strip()
        for n in range(max(1, location.line - _ABOVE), min(location.end_line + 1, len(text.starts)))
    ]
    own = location.end_line - location.line + 1
    above: list[str] = []
    for line in reversed(lines[:-own]):
        if not line.startswith("#"):
            break
        above.insert(0, line)
    comments = " ".join([*above, *(line.partition("#")[2] for line in lines[-own:])])
    return bool(_ABOUT_GRADIENTS.search(comments) and _REASONS.search(comments))

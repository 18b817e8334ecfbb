"""What names and comments say of a stop: code that is never trained, and stops that somebody meant."""

from __future__ import annotations

import re

from bnlint.finding import SourceLocation
from bnlint.flow.graph import Owner
from bnlint.source.text import SourceText

_ABOUT_GRADIENTS = re.compile(r"detach|grad(ient)?s?\b|back-?prop|differentiat|constant", re.IGNORECASE)
_REASONS = re.compile(
    r"\b(need to|otherwise|avoid|prevent|because|so that|unstable|instab\w+|stab(le|ili\w+)|nois(e|y)|on purpose|"
    r"intention\w*|deliberate\w*|should(n't| not)|must(n't| not)|do(n't| not)|stop[- ]?grad\w*|paper|as in|"
    r"see (eq|sec|the paper))\b",
    re.IGNORECASE,
)
#: what is told of a stop in a docstring, where many words stand that are about something else
_PURPOSES = re.compile(
    r"\b(on purpose|intention\w*|deliberate\w*|unchanged|invariant|stop[- ]?grad\w*)\b", re.IGNORECASE
)
#: a comment that says so is no reason but a confession
_BLAME = re.compile(r"\b(bug\w*|wrong\w*|broken|mistake\w*|fixme|todo|error|should(n't| not) be)\b", re.IGNORECASE)
_NEVER_TRAINED = re.compile(
    r"_*(preprocess|evaluate|eval|validat|test|predict|infer|sample(?!_?(norm|wise|mean|var|std))|generate|visuali[sz]|plot|show|save|summar|export|"
    r"collate|metric|log_|denormali)",
    re.IGNORECASE,
)
_NO_MODELS = re.compile(
    r"(Dataset|DataModule|DataLoader|Preprocess\w*|Processor|Metric|Logger|Callback|Optimizer|Observer|Visuali\w+)$"
)
#: a test of an attribute, argument or option that is named for what it decides
_NAMED_SWITCH = re.compile(
    r"\b(el)?if\b[^#\n]*(\b[\w.]*(detach|stop_?grad)\w*\b(?!\s*\()|['\"]\w*(detach|stop_?grad)\w*['\"])"
)
#: lines above a stop in which such a test may stand
_WITHIN = 40
#: lines above a place in which its function may start
_FAR = 200
_DEFINITION = re.compile(r"(?P<indent>\s*)(async )?def (?P<name>\w+)")
_INPUT_NORMS = re.compile(
    r"input_?norm|norm(alize)?_?(inputs?|patch(es)?|images?|data|series|windows?)$|stationar[yi]|denorm", re.IGNORECASE
)
_LAYER_BASES = re.compile(r"(Module|Norm\w*|Layer|Block|Net\w*|Model|Encoder|Decoder|Function)$")
_NORM_NAMES = re.compile(
    r"_*(\w+_)?(batch|layer|instance|group|rms|sync)?_?(norm|bn|ln|gn)(_?\dd?)?$|\w*(normali[sz]ation|whiten\w*)$"
)
_STOPPING = re.compile(r"detach|stop[- ]?grad|back-?prop", re.IGNORECASE)
_DOCSTRING = re.compile(
    r"\s*(async )?def [^\n]*?(\n[^\"']*?)?:[^\S\n]*\n\s*[rR]?(?P<quotes>\"{3}|'{3})(?P<text>.*?)(?P=quotes)", re.DOTALL
)
#: comment lines above a statement that belong to it
_ABOVE = 6


def never_trained(symbol: str) -> bool:
    """Whether a function or method (`Class.method`) is by its name no part of a training step."""
    owner, _, name = symbol.rpartition(".")
    return bool(_NEVER_TRAINED.match(name) or _NO_MODELS.search(owner))


def enclosing(text: SourceText, location: SourceLocation) -> str:
    """Return the name of the function that a place is in, as far as the lines above it tell."""
    for number in range(location.line, max(0, location.line - _FAR), -1):
        match = _DEFINITION.match(text.text[text.starts[number - 1] : text.starts[number]])
        if match and (number == location.line or len(match["indent"]) < location.column):
            return match["name"]
    return ""


def normalizes_inputs(name: str) -> bool:
    """Whether a function is by its name there for the inputs of a model (`input_norm`, `normalize_patches`)."""
    return bool(_INPUT_NORMS.search(name))


def part_of_a_model(symbol: str, owner: Owner | None) -> bool:
    """Whether a function is by its class or name part of a model, and not a tool that works on data."""
    if owner is None:
        return bool(_NORM_NAMES.match(symbol.rpartition(".")[2]))
    return owner.method == "forward" or any(_LAYER_BASES.search(base) for base in owner.bases)


def switched_by_name(text: SourceText, location: SourceLocation) -> bool:
    """Whether an `if` above a stop, in its function, asks for an option that is named for it (`if self.detach:`)."""
    for number in range(location.line, max(0, location.line - _WITHIN), -1):
        line = text.text[text.starts[number - 1] : text.starts[number]]
        if _NAMED_SWITCH.search(line):
            return True
        if line.lstrip().startswith(("def ", "async def ")):
            return False
    return False


def said_to_be_meant(text: SourceText, location: SourceLocation) -> bool:
    """Whether a comment on the lines of a stop or directly above them, or its function's docstring, gives a reason."""
    lines = [_line(text, n) for n in range(max(1, location.line - _ABOVE), _last(text, location) + 1)]
    own = location.end_line - location.line + 1
    above: list[str] = []
    for line in reversed(lines[:-own]):
        if not line.startswith("#"):
            break
        above.insert(0, line)
    comments = " ".join([*above, *(line.partition("#")[2] for line in lines[-own:])])
    if _ABOUT_GRADIENTS.search(comments) and _REASONS.search(comments):
        return not _BLAME.search(comments)
    return any(
        _STOPPING.search(sentence) and _PURPOSES.search(sentence) and not _BLAME.search(sentence)
        for sentence in _docstring(text, location)
    )


def _docstring(text: SourceText, location: SourceLocation) -> list[str]:
    """Return the sentences of the docstring of the function that a place is in."""
    for number in range(location.line, max(0, location.line - _FAR), -1):
        if not _DEFINITION.match(text.text[text.starts[number - 1] : text.starts[number]]):
            continue
        match = _DOCSTRING.match(text.text, text.starts[number - 1], text.starts[location.line - 1])
        return re.split(r"[.;]\s", " ".join(match["text"].split())) if match else []
    return []


def _line(text: SourceText, number: int) -> str:
    return text.text[text.starts[number - 1] : text.starts[number]].strip()


def _last(text: SourceText, location: SourceLocation) -> int:
    return min(location.end_line, len(text.starts) - 1)

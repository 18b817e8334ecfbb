"""What is inside a checkpoint, told without running anything: modules, tensors, other values, globals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnlint.checkpoint.archive import require_sound
from bnlint.checkpoint.disassemble import DEEPEST, Node, Program, disassemble
from bnlint.checkpoint.kinds import METADATA, Kind, identify
from bnlint.checkpoint.trust import printable, standing
from bnlint.errors import InputError

_TENSORS = frozenset({"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"})
_WRAPPERS = frozenset({"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"})
_DICTS = frozenset({"collections.OrderedDict", "collections.defaultdict"})
#: dtypes by the names of torch's storages
_DTYPES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}  # fmt: skip
_LONGEST = 60
#: what Python writes so that it can be read as it is
_KEYS = (str, bytes, int, float, complex, bool, type(None))
#: how much of a tuple is shown where it is a key
_KEY_ITEMS = 8


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor: its dotted place, dtype and shape, and the device that it was saved from."""

    place: str
    dtype: str
    shape: tuple[int, ...]
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Contents:
    """What is inside a checkpoint.

    Attributes:
        format: The format of the file.
        size: Its bytes.
        modules: Dotted place and class of each layer and model.
        tensors: Its tensors.
        values: Dotted place of everything else, and what it is.
        globals: What its pickle names, and what bnlint would do about that: "known", "ask" or why it is refused.
    """

    format: str
    size: int
    modules: list[tuple[str, str]] = field(default_factory=list)
    tensors: list[TensorEntry] = field(default_factory=list)
    values: list[tuple[str, str]] = field(default_factory=list)
    globals: list[tuple[str, str]] = field(default_factory=list)


def contents(path: Path) -> Contents:
    """List what is inside a checkpoint; nothing in it is run, and nothing that it names is imported.

    Raises:
        InputError: It is no checkpoint, or damaged.
    """
    kind = identify(path, old_formats=True)
    if kind is Kind.SHARDS:
        return _of_shards(path)
    size = path.stat().st_size
    if kind is Kind.SAFETENSORS:
        return _of_safetensors(path, size)
    try:
        program = require_sound(path) if kind is Kind.ZIP else _old(path)
    except (ValueError, OSError) as error:
        reason = printable(f"its pickle cannot be read: {error}")
        raise InputError(f"damaged: {reason}", where=str(path), hint="copy or download it again") from error
    found = Contents(kind.value, size, globals=[(printable(name), standing(name)) for name in program.globals])
    _describe(program.result, found)
    return found


def _old(path: Path) -> Program:
    """Disassemble a plain pickle, or the five that torch's old format begins with, one of them the content."""
    with path.open("rb") as file:
        first = disassemble(file)
        if not isinstance(first.result, int) or first.result != 0x1950A86A20F9469CFC6C:
            return first
        _protocol, _machine, content, _keys = rest = [disassemble(file) for _ in range(4)]
        names = [name for program in (first, *rest) for name in program.globals]
        return Program(content.result, tuple(dict.fromkeys(names)))


def _of_safetensors(path: Path, size: int) -> Contents:
    from bnlint.checkpoint.safe_tensors import read

    tensors, texts = read(path, "cpu")
    found = Contents("safetensors", size, values=[(printable(k), _text(v)) for k, v in (texts or {}).items()])
    for name, tensor in tensors.items():
        found.tensors.append(
            TensorEntry(printable(name), str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        )
    return found


def _of_shards(path: Path) -> Contents:
    from bnlint.checkpoint.shards.folder import blob
    from bnlint.checkpoint.shards.parse import known, read_index

    index = read_index(path / METADATA)
    names = {name: "known" if known(name) else "torch does not write it there" for name in index.globals}
    found = Contents(Kind.SHARDS.value, sum((path / name).stat().st_size for name in (METADATA, *index.files)))
    for entry in index.entries.values():
        place = printable(".".join(map(str, entry.place)))
        if entry.dtype is not None:
            dtype = str(entry.dtype).removeprefix("torch.")
            found.tensors.append(TensorEntry(place, dtype, entry.shape))
            continue
        program = require_sound(blob(path, entry.name, entry.parts[0]))
        names |= {name: standing(name) for name in program.globals}
        _describe(program.result, found, place)
    found.globals.extend((printable(name), how) for name, how in names.items())
    return found


def _describe(root: Any, found: Contents, within: str = "") -> None:
    todo: list[tuple[str, Any, int]] = [(within, root, 0)]
    seen: set[int] = set()
    while todo:
        place, value, depth = todo.pop()
        if isinstance(value, Node):
            if id(value) in seen and _tensor(place, value) is None:
                continue
            seen.add(id(value))
        inside = list(_entry(place, value, found)) if depth <= DEEPEST else []
        todo += [(printable(f"{place}.{key}" if place else key), item, depth + 1) for key, item in reversed(inside)]


def _entry(place: str, value: Any, found: Contents) -> Iterator[tuple[Any, Any]]:
    """Note what a value is; yield what lies inside, by name."""
    tensor = _tensor(place, value)
    if tensor is not None:
        found.tensors.append(tensor)
        return
    if not isinstance(value, Node):
        found.values.append((place, _text(value)))
        return
    callee = _callee(value)
    state = dict(_pairs(value.state[-1])) if value.state else {}
    if "_parameters" in state and "_modules" in state:
        found.modules.append((place, printable(callee)))
        for name in ("_parameters", "_buffers", "_modules"):
            yield from ((key, item) for key, item in _pairs(state.get(name)) if item is not None)
    elif value.kind == "dict" or callee in _DICTS:
        yield from _pairs(value)
    elif value.kind in ("list", "tuple") and any(isinstance(item, Node) for item in value.args):
        yield from enumerate(value.args)
    elif value.kind in ("list", "tuple", "set", "frozenset"):
        found.values.append((place, f"{value.kind} of {len(value.args)}"))
    else:
        found.values.append((place, printable(callee or value.name or value.kind)))


def _pairs(node: Any) -> list[tuple[str, Any]]:
    """Return what a dict holds, with its keys as texts; two keys may have one text."""
    if not isinstance(node, Node):
        return []
    args = node.args if node.kind == "dict" else node.items
    return [(_key(key), value) for key, value in zip(args[::2], args[1::2], strict=False)]


def _key(key: Any, *, inside: bool = False) -> str:
    """Return a key as a text: a name as it is, plain values and tuples of them as Python writes them, else `?`."""
    if isinstance(key, str) and not inside:
        return key
    if not isinstance(key, Node):
        return _text(_written(key)) if isinstance(key, _KEYS) else "?"
    if key.kind == "global":
        return key.name
    if key.kind != "tuple" or inside:
        return "?"
    items = [_key(item, inside=True) for item in key.args[:_KEY_ITEMS]]
    more = ["…"] if len(key.args) > _KEY_ITEMS else []
    return f"({', '.join(items + more)}{',' * (len(key.args) == 1)})"


def _callee(node: Node) -> str:
    head = node.args[0] if node.kind == "call" and node.args else None
    return head.name if isinstance(head, Node) else ""


def _tensor(place: str, value: Any) -> TensorEntry | None:
    """Read a tensor from the call that would rebuild it."""
    while isinstance(value, Node) and _callee(value) in _WRAPPERS and len(value.args) > 1:
        value = value.args[1]
    if not isinstance(value, Node) or _callee(value) not in _TENSORS:
        return None
    match value.args[1:4]:
        case [
            Node(kind="persistent", args=[Node(args=["storage", Node(name=kind), _, str(device), *_])]),
            _,
            Node() as s,
        ]:
            name = kind.rpartition(".")[2].removesuffix("Storage")
            shape = tuple(size for size in s.args if isinstance(size, int))
            return TensorEntry(place, _DTYPES.get(name, name.lower()), shape, printable(device))
    return None


def _text(value: Any) -> str:
    text = printable(_written(value) if not isinstance(value, str) else value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _written(value: Any) -> str:
    """Write a value as Python does, but for integers that Python refuses to write."""
    try:
        return repr(value)
    except ValueError:
        return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else "?"

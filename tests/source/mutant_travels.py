"""The ways in which the statistics of a mutant travel from where they are computed to where they are used."""

from __future__ import annotations

from collections.abc import Callable

from mutant_text import Statistics, Travel, assigned, define, entries_of, indent, then

Way = Callable[[Statistics], Travel]
WAYS: dict[str, Way] = {}


def way(name: str) -> Callable[[Way], Way]:
    def add(function: Way) -> Way:
        WAYS[name] = function
        return function

    return add


# -- names


WAYS["own line"] = lambda s: Travel(assigned(s))
WAYS["where it is used"] = lambda s: Travel(s.lines(), dict(zip(s.names, s.values(), strict=True)))
WAYS["tuple unpacked"] = lambda s: Travel(f"{s.lines()}{s.targets} = {s.tuple_of()}\n")
WAYS["two names"] = lambda s: Travel(assigned(s, "{name}_kept = {value}"))
WAYS["walrus"] = lambda s: Travel(
    s.lines() + "".join(f"assert ({n} := {v}) is not None\n" for n, v in zip(s.names, s.values(), strict=True))
)
WAYS["conditional expression"] = lambda s: Travel(assigned(s, "({value}) if x.dim() else torch.zeros(1)"))
WAYS["augmented assignment"] = lambda s: Travel(then(s, "NAME = NAME * 0.5", "NAME += NAME", "NAME -= 0"))
WAYS["in place"] = lambda s: Travel(then(s, "NAME = NAME.clone()", "NAME.mul_(0.5).add_(0.0)", "NAME.div_(0.5)"))
WAYS["copy_"] = lambda s: Travel(then(s, "held = torch.empty_like(NAME)", "held.copy_(NAME)", "NAME = held"))
WAYS["lerp_"] = lambda s: Travel(then(s, "held = torch.zeros_like(NAME)", "held.lerp_(NAME, 1.0)", "NAME = held"))
WAYS["reshapes"] = lambda s: Travel(
    then(
        s, "NAME = NAME.reshape(1, *NAME.shape).squeeze(0)[None].contiguous()[0]", "NAME = NAME.flatten().view_as(NAME)"
    )
)
WAYS["casts and copies"] = lambda s: Travel(then(s, "NAME = NAME.double().to(x.dtype).clone().type_as(x).cpu()"))
WAYS["broadcast"] = lambda s: Travel(then(s, "NAME = torch.broadcast_to(NAME, NAME.shape).expand_as(NAME)"))
WAYS["torch.where"] = lambda s: Travel(
    then(s, "NAME = torch.where(torch.isfinite(NAME), NAME, torch.zeros_like(NAME))")
)
WAYS["clamp"] = lambda s: Travel(then(s, "NAME = torch.clamp(NAME, -1e6, 1e6).nan_to_num()"))
WAYS["maximum"] = lambda s: Travel(then(s, "NAME = torch.maximum(NAME, torch.full_like(NAME, -1e6))"))
WAYS["operators of torch"] = lambda s: Travel(then(s, "NAME = torch.add(torch.mul(NAME, 2.0), 0.0).true_divide(2)"))

# -- containers


WAYS["dict"] = lambda s: Travel(f"{s.lines()}stats = {{{s.entries()}}}\n", entries_of(s, 'stats["{name}"]'))
WAYS["dict, one entry after the other"] = lambda s: Travel(
    "stats = {}\n" + assigned(s) + "".join(f'stats["{n}"] = {n}\n' for n in s.names),
    entries_of(s, 'stats.get("{name}")'),
)
WAYS["dict function"] = lambda s: Travel(f"{s.lines()}stats = dict({s.keywords()})\n", entries_of(s, 'stats["{name}"]'))
WAYS["list and a later loop"] = lambda s: Travel(
    f"{s.lines()}found = [{', '.join(s.values())}]\nkept = []\nfor value in found:\n    kept.append(value * 1)\n",
    entries_of(s, "kept[{position}]"),
)
WAYS["enumerate"] = lambda s: Travel(
    f"{s.lines()}kept = {{}}\nfor i, value in enumerate({s.tuple_of()}):\n    kept[i] = value\n",
    entries_of(s, "kept[{position}]"),
)
WAYS["zip"] = lambda s: Travel(
    f"{s.lines()}kept = {{}}\nfor key, value in zip({s.names!r}, {s.tuple_of()}):\n    kept[key] = value\n",
    entries_of(s, 'kept["{name}"]'),
)
WAYS["comprehension"] = lambda s: Travel(f"{s.lines()}{s.targets} = [value + 0 for value in {s.tuple_of()}]\n")
WAYS["dict comprehension"] = lambda s: Travel(
    f"{s.lines()}stats = {{key: value + 0 for key, value in {{{s.entries()}}}.items()}}\n",
    entries_of(s, 'stats["{name}"]'),
)
WAYS["map"] = lambda s: Travel(f"{s.lines()}{s.targets} = map(lambda value: value + 0, {s.tuple_of()})\n")
WAYS["nested tuples"] = lambda s: Travel(f"{s.lines()}count, ({s.targets}) = x.numel(), {s.tuple_of()}\n")
WAYS["stack and unbind"] = lambda s: Travel(
    f"{s.lines()}{s.targets} = torch.stack([{', '.join(s.values())}]).unbind(0)\n"
)
WAYS["cat and chunk"] = lambda s: Travel(
    f"{s.lines()}both = torch.cat([value[None] for value in {s.tuple_of()}], dim=0)\n"
    f"{s.targets} = [part.squeeze(0) for part in both.chunk({len(s.names)}, dim=0)]\n"
)
WAYS["namespace"] = lambda s: Travel(
    f"{s.lines()}stats = types.SimpleNamespace({s.keywords()})\n", entries_of(s, "stats.{name}")
)


@way("dataclass")
def _dataclass(s: Statistics) -> Travel:
    fields = "".join(f"    {name}: torch.Tensor\n" for name in s.names)
    top = f"@dataclasses.dataclass\nclass Stats:\n{fields}"
    return Travel(f"{s.lines()}stats = Stats({s.keywords()})\n", entries_of(s, "stats.{name}"), top)


@way("NamedTuple")
def _named_tuple(s: Statistics) -> Travel:
    fields = "".join(f"    {name}: torch.Tensor\n" for name in s.names)
    top = f"class Stats(typing.NamedTuple):\n{fields}"
    body = f"{s.lines()}stats = Stats({', '.join(s.values())})\n{s.targets} = stats\n"
    return Travel(body, entries_of(s, "stats.{name}") | {s.names[0]: s.names[0]}, top)


@way("namedtuple")
def _namedtuple(s: Statistics) -> Travel:
    top = f'Stats = collections.namedtuple("Stats", "{" ".join(s.names)}")\n'
    return Travel(f"{s.lines()}stats = Stats({s.keywords()})\n", entries_of(s, "stats.{name}"), top)


@way("object with attributes")
def _holder(s: Statistics) -> Travel:
    body = s.lines() + "stats = Stats()\n"
    body += "".join(f"stats.{n} = {v}\n" for n, v in zip(s.names, s.values(), strict=True))
    return Travel(body, entries_of(s, "stats.{name}"), "class Stats:\n    pass\n")


# -- functions


@way("method")
def _method(s: Statistics) -> Travel:
    methods, call = define(s, "statistics", owned=True)
    return Travel(f"{s.targets} = {call}\n", methods=methods)


@way("helper function")
def _function(s: Statistics) -> Travel:
    top, call = define(s, "statistics")
    return Travel(f"stats = {call}\n", entries_of(s, "stats[{position}]"), top)


@way("method of a base class")
def _base(s: Statistics) -> Travel:
    base, call = define(s, "statistics", owned=True)
    return Travel(f"{s.targets} = {call}\n", base=base)


@way("super")
def _super(s: Statistics) -> Travel:
    base, call = define(s, "statistics", owned=True)
    methods = "def statistics(self, *args, **kwargs):\n    return super().statistics(*args, **kwargs)\n"
    return Travel(f"{s.targets} = {call}\n", base=base, methods=methods)


@way("generator method")
def _generator(s: Statistics) -> Travel:
    methods, call = define(s, "statistics", owned=True, result="yield from {}\n")
    return Travel(f"{s.targets} = {call}\n", methods=methods)


@way("self attributes across methods")
def _attributes(s: Statistics) -> Travel:
    methods, call = define(
        s,
        "measure",
        owned=True,
        result=", ".join(f"self.{name}" for name in s.names) + (", = {}\n" if len(s.names) == 1 else " = {}\n"),
    )
    return Travel(f"{call}\n", entries_of(s, "self.{name}"), methods=methods)


@way("setattr and getattr")
def _setattr(s: Statistics) -> Travel:
    body = assigned(s) + "".join(f'setattr(self, "kept_{name}", {name})\n' for name in s.names)
    return Travel(body, entries_of(s, 'getattr(self, "kept_{name}")'))


@way("property")
def _property(s: Statistics) -> Travel:
    methods = ""
    for piece in s.of("x"):
        lines, value = piece.lines, piece.value.replace("if frozen else", "if self.frozen else")
        methods += f"@property\ndef own_{piece.name}(self):\n    x = self.held\n{indent(f'{lines}return {value}')}\n\n"
    return Travel(f"self.held = {s.tensor}\n", entries_of(s, "self.own_{name}"), methods=methods)


@way("closure")
def _closure(s: Statistics) -> Travel:
    body = f"def statistics():\n{indent(s.lines() + 'return ' + s.tuple_of())}\n\n{s.targets} = statistics()\n"
    return Travel(body)


@way("lambda")
def _lambda(s: Statistics) -> Travel:
    return Travel(f"{s.lines()}statistics = lambda: {s.tuple_of()}\n{s.targets} = statistics()\n")


@way("arguments of a function")
def _arguments(s: Statistics) -> Travel:
    top = f"def kept(*, {', '.join(s.names)}):\n    return {', '.join(s.names)},\n"
    return Travel(f"{s.lines()}{s.targets} = kept({s.keywords()})\n", top=top)


@way("starred arguments")
def _starred(s: Statistics) -> Travel:
    entries = ", ".join(f'"{name}": {name}' for name in s.names)
    methods = f"def kept(self, {', '.join(s.names)}, **options):\n    return {{{entries}}}\n"
    body = f"{s.lines()}stats = self.kept(*{s.tuple_of()}, **dict(flag=1))\n"
    return Travel(body, entries_of(s, 'stats["{name}"]'), methods=methods)


@way("module of statistics")
def _module(s: Statistics) -> Travel:
    method, _ = define(s, "forward", owned=True)
    top = f"class Statistics(nn.Module):\n    frozen = False\n\n{indent(method)}"
    return Travel(f"{s.targets} = self.statistics({s.tensor})\n", top=top)


@way("object that counts and measures")
def _callable(s: Statistics) -> Travel:
    method, _ = define(s, "__call__", owned=True)
    top = f"class Meter:\n    frozen = False\n    training = True\n\n{indent(method)}"
    return Travel(f"{s.targets} = Meter()({s.tensor})\n", top=top)


# -- statements


WAYS["loop"] = lambda s: Travel(f"for _ in range(1):\n{indent(assigned(s))}")
WAYS["while"] = lambda s: Travel(f"todo = 1\nwhile todo:\n{indent(assigned(s))}    todo -= 1\n")
WAYS["with"] = lambda s: Travel(f"with contextlib.suppress(KeyError):\n{indent(assigned(s))}")
WAYS["autocast"] = lambda s: Travel(f'with torch.autocast(device_type="cpu", enabled=False):\n{indent(assigned(s))}')
WAYS["profiler"] = lambda s: Travel(f'with torch.profiler.record_function("stats") as span:\n{indent(assigned(s))}')
WAYS["try"] = lambda s: Travel(f"try:\n{indent(assigned(s))}except ValueError:\n    raise\nfinally:\n    pass\n")
WAYS["match"] = lambda s: Travel(
    f"match x.dim():\n    case 0:\n        return x\n    case _:\n{indent(indent(assigned(s)))}"
)
WAYS["early return"] = lambda s: Travel(f"if x.numel() == 0:\n    return x\n{assigned(s)}")
WAYS["training branch"] = lambda s: Travel(
    f"if self.training:\n{indent(assigned(s))}else:\n"
    + indent("".join(f"{name} = torch.ones(1)\n" for name in s.names))
)

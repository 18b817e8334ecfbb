"""What the methods of lists and dicts do, and what loops over several containers yield."""

from __future__ import annotations

from collections.abc import Callable

from bnlint.source.evaluate import Evaluator
from bnlint.source.values import Items, Literal, Opaque, State, Value


class Containers(Evaluator):
    """Interprets methods of containers, and the functions that iterate."""

    def container_method(self, items: Items, name: str, args: list[Value], kwargs: dict[str, Value]) -> Value:
        """Evaluate `items.name(…)`."""
        match name, args:
            case (("append" | "add" | "appendleft"), [value]):
                items.entries[len(items.entries)] = value
            case (("get" | "pop" | "setdefault" | "__getitem__"), [key, *rest]):
                found = self.load_item(items, key)
                if name == "setdefault" and isinstance(found, Opaque) and rest:
                    self.store_item(items, key, rest[0])
                return rest[0] if isinstance(found, Opaque) and rest else found
            case "pop", []:
                return self.load_item(items, Literal(-1))
            case (("update" | "extend"), _):
                for value in args:
                    if isinstance(value, Items) and name == "update":
                        items.entries |= value.entries
                    elif isinstance(value, Items):
                        for entry in list(value.entries.values()):  # it may be extended by itself
                            items.entries[len(items.entries)] = entry
                items.entries |= {str(key): value for key, value in kwargs.items()}
            case "items", _:
                pairs = [Items({0: Literal(key), 1: entry}) for key, entry in items.entries.items()]
                each = None if items.each is None else Items({0: Opaque("key"), 1: items.each})
                return Items(dict(enumerate(pairs)), each)
            case "keys", _:
                return Items({i: Literal(key) for i, key in enumerate(items.entries)}, items.each and Opaque("key"))
            case "values", _:
                return Items(dict(enumerate(items.entries.values())), items.each)
            case (("copy" | "_asdict"), _):
                return Items(dict(items.entries), items.each)
            case _:
                pass
        return Opaque("?")

    def iterated(
        self, state: State, name: str, args: list[Value], apply: Callable[[Value, list[Value]], Value]
    ) -> Value:
        """Evaluate `zip`, `enumerate` or `map`, entry by entry where the entries are known."""
        sources = args[1:] if name == "map" else args if name == "zip" else args[:1]
        counts = name == "enumerate"

        def combined(values: list[Value]) -> Value:
            if name == "map":
                return apply(args[0], values)
            return Items(dict(enumerate(values)))

        rows = [self.elements(source) for source in sources if isinstance(source, Items) and self.known(source)]
        if len(rows) == len(sources):
            places = [[Literal(position)] if counts else [] for position in range(len(rows[0]) if rows else 0)]
            found = zip(places, zip(*rows, strict=False), strict=False)
            return Items({i: combined([*place, *row]) for i, (place, row) in enumerate(found)})
        each = [self.element(state, source) for source in sources]
        return Items(each=combined([Opaque("?"), *each] if counts else each))

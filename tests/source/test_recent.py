"""The trees that were asked for last are kept, as many as there is room for."""

from __future__ import annotations

from bnlint.source.recent import recent


def test_the_texts_asked_for_longest_ago_are_read_again() -> None:
    read: list[str] = []

    @recent(10)
    def tree(text: str, path: str) -> str:
        read.append(path)
        return f"{path}: {text}"

    assert [tree("x" * 4, path) for path in "aba"] == ["a: xxxx", "b: xxxx", "a: xxxx"]
    assert read == ["a", "b"]
    tree("x" * 4, "c")  # there is room for two: b was asked for longest ago
    assert [tree("x" * 4, path) for path in "ac"] == ["a: xxxx", "c: xxxx"]
    assert read == ["a", "b", "c"]
    tree("x" * 4, "b")
    assert read == ["a", "b", "c", "b"]


def test_a_text_that_is_larger_than_all_the_room_is_kept_while_it_is_the_last() -> None:
    read: list[str] = []

    @recent(10)
    def tree(text: str, path: str) -> None:
        read.append(path)

    for path in ("small", "large", "large", "small"):
        tree("x" if path == "small" else "x" * 99, path)
    assert read == ["small", "large", "small"]


def test_of_one_path_each_text_is_another() -> None:
    @recent(10)
    def tree(text: str, path: str) -> str:
        return text

    assert [tree("old", "a"), tree("new", "a"), tree("old", "a")] == ["old", "new", "old"]

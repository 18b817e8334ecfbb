"""What was computed once is not computed again, and whoever uses it rests on what it rests on."""

from __future__ import annotations

from bnlint.source.memory import Memory


def test_a_fact_is_computed_once_and_all_who_use_it_rest_on_its_paths() -> None:
    memory, computed = Memory(), list[str]()

    def base() -> str:
        computed.append("base")
        memory.rest_on("base.py", "names")
        return "b"

    def derived() -> str:
        memory.rest_on("own.py", "names")
        return memory.once("base", base) + "d"

    with memory.noting() as first:
        assert memory.once("derived", derived) == "bd"
    with memory.noting() as second:
        assert memory.once("derived", derived) == "bd"
    with memory.noting() as third:
        assert memory.once("base", base) == "b"
    assert computed == ["base"]
    assert first.all() == second.all() == {("own.py", "names"), ("base.py", "names")}
    assert third.all() == {("base.py", "names")}


def test_what_is_noted_outside_a_block_is_not_noted_in_it() -> None:
    memory = Memory()
    with memory.noting() as outer:
        memory.rest_on("before.py", "names")
        with memory.noting() as inner:
            memory.rest_on("inside.py", "names")
        memory.rest_on("after.py", "names")
    assert inner.all() == {("inside.py", "names")}
    assert outer.all() == {("before.py", "names"), ("after.py", "names")}


def test_what_is_forgotten_is_computed_again() -> None:
    memory, numbers = Memory(), iter(range(9))
    assert [memory.once("n", lambda: next(numbers)) for _ in range(2)] == [0, 0]
    memory.forget()
    assert len(memory) == 0
    assert memory.once("n", lambda: next(numbers)) == 1


def test_a_computation_that_fails_leaves_the_notes_of_its_caller() -> None:
    memory = Memory()

    def fails() -> None:
        memory.rest_on("broken.py", "names")
        raise RecursionError

    with memory.noting() as rests:
        memory.rest_on("own.py", "names")
        try:
            memory.once("n", fails)
        except RecursionError:
            memory.rest_on("later.py", "names")
    assert rests.all() == {("own.py", "names"), ("later.py", "names")}

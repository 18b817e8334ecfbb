"""What stands at the top level of a file and is of no interest: data."""

from __future__ import annotations

import ast

#: longer tables at the top level of a module are data
MAX_TABLE = 50


def is_data(node: ast.stmt) -> bool:
    """Whether a statement binds a container that the flow never looks into."""
    match node:
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            elements = len(value.keys) if isinstance(value, ast.Dict) else 0
            return isinstance(value, ast.List | ast.Set | ast.Tuple) or elements > MAX_TABLE
        case _:
            return False

"""Settings as a line of TOML each."""

from __future__ import annotations

import json

from bnlint.config import KEYS, Config


def as_toml(config: Config, key: str) -> str:
    """Write a setting as a line of TOML, as a comment where it has no value."""
    value = getattr(config, KEYS[key])
    if value is None:
        return f"# {key} = ..."
    if KEYS[key] == "per_file_ignores":
        listed = ", ".join(f"{_toml(pattern)} = {_toml(codes)}" for pattern, codes in value)
        return f"{key} = {{ {listed} }}" if listed else f"{key} = {{}}"
    return f"{key} = {_toml(value)}"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)

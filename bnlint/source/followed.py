"""The flow of a file: the screen says which functions may hold something, and only for those the flow is followed."""

from __future__ import annotations

from pathlib import Path

from bnlint.source.checked import Checked
from bnlint.source.outline import Outline, outline
from bnlint.source.project import Project
from bnlint.source.screen import screen
from bnlint.source.spelling import absolute
from bnlint.source.text import SourceText
from bnlint.vocabulary import NO_WORDS, Vocabulary


def followed(text: SourceText, path: str, project: Project | None) -> Checked:
    """Follow the flow of one file, and say what is reported of it.

    Args:
        text: The file.
        path: What findings call it.
        project: The files around it; without, each import leads out of what is seen.

    Raises:
        SyntaxError: It is no Python; ValueError, RecursionError and MemoryError say so as well.
    """
    file = absolute(Path(path))
    words = NO_WORDS if project is None else project.words.vocabulary(file)
    sketch = _outline(text, file, words, project)
    around = () if project is None else (project.imported(file, sketch), project.inherited(file, sketch))
    screened = screen(sketch, *around)
    if not screened.wanted:
        return Checked()
    # Most files end above, and what follows takes longer to import than many a file to check.
    from bnlint.source.flowed import flowed

    return flowed(text, path, sketch, screened, project)


def _outline(text: SourceText, file: Path, words: Vocabulary, project: Project | None) -> Outline:
    """Return the outline of a file; other files that import it want the same one."""
    read = None if project is None else project.read(file)
    return read.outline if read is not None and read.text.text == text.text else outline(text.text, words)

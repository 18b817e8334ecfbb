"""The static check on open files: their unsaved text counts, and the nearest configuration holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlint import baseline
from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.pages import Page
from bnlint.server.documents import Desk, Document
from bnlint.settings import Settings
from bnlint.source.check import inspect_source
from bnlint.source.definitions import Read
from bnlint.source.discover import DEFAULT_EXCLUDE
from bnlint.source.files import distinct
from bnlint.source.fixing import fix_text
from bnlint.source.ignores import NEVER, with_ignores
from bnlint.source.outline import outline
from bnlint.source.patterns import ignored
from bnlint.source.project import Project
from bnlint.source.reads import MAX_KEPT
from bnlint.source.text import SourceText, parsed
from bnlint.stamp import Stamp, stamp
from bnlint.vocabulary import Vocabulary

#: what stands where the reason of a suppression belongs
REASON = "say why"


@dataclass(frozen=True, slots=True)
class Result:
    """What the check of an open file found, in whatever file, and the paths that this rests on."""

    findings: tuple[Finding, ...] = ()
    rests: frozenset[Path] = frozenset()


class Analysis:
    """Checks and fixes open files, one at a time; the configuration is read once.

    Args:
        roots: The folders that the editor has open, absolute.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._kept: _Kept = {}
        #: the pages of all rules that may have reported something in this session
        self.pages: Mapping[str, Page] = {}
        self.configure()

    def configure(self) -> None:
        """Forget the configuration: it is read when it is needed."""
        self._settings = Settings({}, here=self._roots[0])

    def check(self, document: Document, desk: Desk) -> Result:
        """Check an open file.

        Raises:
            BnlintError: The configuration that holds for it cannot be used.
        """
        if self._left_out(document.path):
            return Result()
        project = _Around(desk.documents, self._kept, self._settings.vocabulary)
        found = inspect_source(document.content, str(document.path), project).findings
        wanted = [each for each in found if self._settings.wanted(each) and not self._elsewhere(each, document)]
        if wanted:
            self.pages = {**self.pages, **self._settings.pages()}
        return Result(tuple(self._unknown(wanted, desk)), frozenset(map(Path, project.looked_at(document.path))))

    def fixed(self, document: Document, desk: Desk) -> str:
        """Return the text that `bnlint fix` would make of an open file."""
        settings = self._settings
        project = _Around(desk.documents, self._kept, settings.vocabulary)
        unsafe = settings.of_folder(document.path.parent).unsafe_fixes
        file = fix_text(document.path, document.content, settings.wanted, project, unsafe=unsafe)
        return _text(document, file.after)

    def _elsewhere(self, finding: Finding, document: Document) -> bool:
        """Whether a finding lies wholly in files that are left out, and not in the one that is open."""
        places = {Path(each.path) for each in finding.places}
        return document.path not in places and all(map(self._left_out, places))

    def _left_out(self, path: Path) -> bool:
        root = next((each for each in self._roots if path.is_relative_to(each)), None)
        folders = (path.relative_to(root) if root is not None else path).parts[:-1]
        excluded = any(part in DEFAULT_EXCLUDE for part in folders)
        return excluded or ignored(str(path), self._settings.excludes(path.parent))

    def _unknown(self, findings: list[Finding], desk: Desk) -> list[Finding]:
        """Return the findings that the baseline of the configuration does not know."""
        file = self._settings.baseline
        return findings if file is None else baseline.read(file).new(findings, desk.reader.at)


def merged(results: Iterable[Result], desk: Desk) -> dict[Path, list[Finding]]:
    """Return the findings of all results by the file that they are in, each cause once."""
    found: dict[Path, list[Finding]] = {}
    for finding in distinct([each for result in results for each in result.findings], list(desk.documents)):
        if finding.location is not None:
            found.setdefault(Path(finding.location.path), []).append(finding)
    return found


def suppressed(document: Document, finding: Finding) -> str | None:
    """Return the text with a comment that suppresses a finding, None where no comment can."""
    if finding.code in NEVER:
        return None
    try:
        content = with_ignores(document.content, str(document.path), [finding], REASON)
    except InputError:
        return None
    return _text(document, content)


def repaired(document: Document, finding: Finding, desk: Desk) -> str | None:
    """Return the text with the fix of a finding, None where there is none for this file."""
    fix = finding.fix
    if fix is None or {edit.location.path for edit in fix.edits} != {str(document.path)}:
        return None
    change = desk.reader.fixed(fix)
    return change[1] if change is not None else None


def _text(document: Document, content: bytes) -> str:
    return document.text if content == document.content else SourceText.decode(content).text


#: files that were parsed for the sake of others, each with what it was then, and the words that held in it
_Kept = dict[Path, tuple[Document | Stamp, Vocabulary, Read | None]]


class _Around(Project):
    """The files around the one that is checked: those that are open have their unsaved text, if it can be parsed.

    What was parsed for other checks and has not changed since is not parsed again.
    """

    def __init__(
        self, documents: Mapping[Path, Document], kept: _Kept, vocabulary: Callable[[Path], Vocabulary]
    ) -> None:
        super().__init__(vocabulary=vocabulary)
        self.spelled = str
        self._open, self._kept = documents, kept

    def _read(self, file: Path) -> Read | None:
        if file in self._files:
            return super()._read(file)
        document = self._open.get(file)
        now, words = document or stamp(file), self.words.vocabulary(file)
        *before, known = self._kept.pop(file, (None, words, None))
        same = before == [now, words]
        unsaved = _unsaved(document, words) if document is not None and not same else None
        if unsaved is not None or (known is not None and same):
            self._files[file] = unsaved or known
        self._kept[file] = now, words, super()._read(file)
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return self._kept[file][-1]


def _unsaved(document: Document, words: Vocabulary) -> Read | None:
    try:
        text = SourceText.decode(document.content)
        parsed(text.text)
        return Read(text, outline(text.text, words))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None

"""The server: what an editor tells it, and what it answers."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import click
from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from bnlint.config import FILES
from bnlint.errors import BnlintError
from bnlint.finding import Finding
from bnlint.server import convert
from bnlint.server.analysis import Analysis, Result, merged, repaired, suppressed
from bnlint.server.documents import Desk, Document
from bnlint.server.lines import changed
from bnlint.source.discover import SUFFIXES
from bnlint.source.spelling import absolute

#: how many seconds nothing must be typed before a file is checked
PAUSE = 0.2
#: the stack of the thread that checks; on some systems threads have far less than a program has
STACK = 64 * 1024 * 1024

Answer = TypeVar("Answer")


class Server(LanguageServer):
    """One session with an editor: the files that it has open, and what was found in them."""

    def __init__(self, version: str) -> None:
        super().__init__("bnlint", version)
        self.documents: dict[str, Document] = {}
        self.asked_to_stop = False
        threading.stack_size(STACK)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="check")
        self._analysis: Analysis | None = None
        self._results: dict[str, Result] = {}
        self._pending: dict[str, asyncio.Task[None]] = {}
        self._published: dict[str, types.PublishDiagnosticsParams] = {}
        self._problem: str | None = None

    @property
    def desk(self) -> Desk:
        """The files as they stand in the editor now."""
        encoding = self.workspace.position_encoding or types.PositionEncodingKind.Utf16
        return Desk.of(self.documents.values(), types.PositionEncodingKind(encoding))

    @property
    def analysis(self) -> Analysis:
        """The check, for the folders that the editor has open."""
        if self._analysis is None:
            folders = [to_fs_path(uri) for uri in self.workspace.folders] or [self.workspace.root_path]
            self._analysis = Analysis([absolute(Path(each)) for each in folders if each] or [Path.cwd()])
        return self._analysis

    async def work(self, task: Callable[..., Answer], *arguments: Any) -> Answer:
        """Do something with the analysis; only one thing is done with it at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, task, *arguments)

    async def findings(self, uri: str) -> list[Finding]:
        """Return what holds for the text of a file as it is now, once it is known."""
        while (pending := self._pending.get(uri)) is not None:
            await asyncio.wait({pending})
        found = merged(self._results.values(), self.desk)
        return found.get(self.documents[uri].path, []) if uri in self.documents else []

    def at(self, area: types.Range, findings: Iterable[Finding]) -> list[tuple[Finding, types.Diagnostic]]:
        """Return the findings that touch a place in their file, each with what the editor was told of it."""
        desk = self.desk
        told = [(each, convert.diagnostic(each, self.analysis.pages, desk)) for each in findings]
        return [(each, diagnostic) for each, diagnostic in told if convert.touches(diagnostic.range, area)]

    def check(self, uris: Iterable[str], pause: float = 0) -> None:
        """Check files after a pause, unless they change again before it is over."""
        for uri in uris:
            if uri in self._pending:
                self._pending[uri].cancel()
            self._pending[uri] = asyncio.ensure_future(self._checked(uri, pause))

    def check_around(self, paths: Iterable[Path], pause: float = 0) -> None:
        """Check the open files whose findings rest on one of these, or of which that is not known yet."""
        listed, results = frozenset(paths), self._results
        self.check([uri for uri in self.documents if uri in self._pending or results[uri].rests & listed], pause)

    def forget(self, uri: str) -> None:
        """Take back what was found from a file that is not open any more."""
        if uri in self._pending:
            self._pending.pop(uri).cancel()
        self._results.pop(uri, None)
        self._publish()

    async def _checked(self, uri: str, pause: float) -> None:
        """Check a file and tell what was found: nothing, where that fails."""
        await asyncio.sleep(pause)
        result = Result()
        try:
            result = await self.work(self.analysis.check, self.documents[uri], self.desk)
            self._problem = None
        except BnlintError as error:
            self._tell(f"{error}; {error.hint}" if error.hint else str(error))
        except Exception as error:
            self.report_server_error(error, type(error))
        self._results[uri] = result
        del self._pending[uri]
        self._publish()

    def _publish(self) -> None:
        """Tell the editor what was found, file by file, where it does not know that yet.

        What was found in a file before its last change stands elsewhere now, and is told when it has been checked.
        """
        desk = self.desk
        found = {desk.uri(path): findings for path, findings in merged(self._results.values(), desk).items()}
        for uri in {**self.documents, **found, **self._published}.keys() - self._pending.keys():
            version = self.documents[uri].version if uri in self.documents else None
            diagnostics = [convert.diagnostic(each, self.analysis.pages, desk) for each in found.get(uri, ())]
            told = types.PublishDiagnosticsParams(uri, diagnostics, version)
            if told != self._published.get(uri):
                self._published[uri] = told
                self.text_document_publish_diagnostics(told)

    def _tell(self, problem: str) -> None:
        """Show what the user can do something about, once."""
        if problem != self._problem:
            self._problem = problem
            self.window_show_message(types.ShowMessageParams(types.MessageType.Error, f"bnlint: {problem}"))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log what went wrong inside; the session goes on."""
        what = f"bnlint failed on its own: {type(error).__name__}: {error}"
        self.window_log_message(types.LogMessageParams(types.MessageType.Error, what))


async def initialized(ls: Server, _: types.InitializedParams) -> None:
    """Ask to be told about files that change on the disk."""
    workspace = ls.client_capabilities.workspace
    watched = workspace.did_change_watched_files if workspace is not None else None
    if watched is not None and watched.dynamic_registration:
        globs = (f"**/{name}" for name in (*FILES, *(f"*{suffix}" for suffix in SUFFIXES)))
        options = types.DidChangeWatchedFilesRegistrationOptions([types.FileSystemWatcher(glob) for glob in globs])
        registration = types.Registration("watch", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)
        await ls.client_register_capability_async(types.RegistrationParams([registration]))


def did_open(ls: Server, params: types.DidOpenTextDocumentParams) -> None:
    """Check a Python file that was opened, and those that rest on it."""
    item, place = params.text_document, to_fs_path(params.text_document.uri)
    if place is None or not item.uri.startswith("file:") or item.language_id != "python":
        return
    ls.documents[item.uri] = Document(item.uri, absolute(Path(place)), item.version, item.text)
    ls.check([item.uri])
    ls.check_around([ls.documents[item.uri].path])


def did_change(ls: Server, params: types.DidChangeTextDocumentParams) -> None:
    """Check a file that is being written, and those that rest on it."""
    uri = params.text_document.uri
    if (old := ls.documents.get(uri)) is not None:
        text = changed(old.text, params.content_changes, ls.desk.encoding)
        ls.documents[uri] = Document(uri, old.path, params.text_document.version, text)
        ls.check([uri], PAUSE)
        ls.check_around([old.path], PAUSE)


async def did_save(ls: Server, params: types.DidSaveTextDocumentParams) -> None:
    """Check a file again: whatever lies on the disk may have changed since, configuration included."""
    await ls.work(ls.analysis.configure)
    ls.check([params.text_document.uri] if params.text_document.uri in ls.documents else [])


async def did_change_watched_files(ls: Server, params: types.DidChangeWatchedFilesParams) -> None:
    """Check the files for which something has changed on the disk; what is open counts as it stands in the editor."""
    places = [to_fs_path(change.uri) for change in params.changes if change.uri not in ls.documents]
    paths = [absolute(Path(place)) for place in places if place is not None]
    if any(path.name in FILES for path in paths):
        await ls.work(ls.analysis.configure)
        ls.check(ls.documents)
    else:
        ls.check_around(paths)


def did_close(ls: Server, params: types.DidCloseTextDocumentParams) -> None:
    """Take back what was found from a file; for others, what lies on the disk counts again."""
    document = ls.documents.pop(params.text_document.uri, None)
    if document is not None:
        ls.forget(document.uri)
        ls.check_around([document.path])


async def code_action(ls: Server, params: types.CodeActionParams) -> list[types.CodeAction]:
    """Offer the fixes of the findings at a range, comments that suppress them, and all safe fixes at once."""
    uri, only = params.text_document.uri, params.context.only
    found = await ls.findings(uri)
    document, desk = ls.documents.get(uri), ls.desk
    if document is None:
        return []
    actions: list[types.CodeAction] = []
    kind = types.CodeActionKind.QuickFix
    if convert.wanted(kind, only):
        here = ls.at(params.range, found)
        for finding, about in here:
            if finding.fix is not None and (after := repaired(document, finding, desk)) is not None:
                title, best = convert.fix_title(finding), finding.fix.safe
                actions.append(convert.action(title, kind, document, after, desk, about=about, best=best))
        for finding, about in here:
            if (after := suppressed(document, finding)) is not None:
                title = f"bnlint: suppress {finding.code} with a comment"
                actions.append(convert.action(title, kind, document, after, desk, about=about))
    if convert.wanted(convert.FIX_ALL, only) and any(each.fix is not None for each in found):
        after = await ls.work(ls.analysis.fixed, document, desk)
        if after != document.text:
            actions.append(convert.action("bnlint: fix all", convert.FIX_ALL, document, after, desk))
    return actions


async def hover(ls: Server, params: types.HoverParams) -> types.Hover | None:
    """Show the pages of the rules that report something at a position."""
    here = ls.at(types.Range(params.position, params.position), await ls.findings(params.text_document.uri))
    return convert.hover([finding for finding, _ in here], ls.analysis.pages, ls.desk)


def shutdown(ls: Server, _: None) -> None:
    """Note that the end is meant."""
    ls.asked_to_stop = True


HANDLERS: dict[str, Callable[..., Any]] = {
    types.INITIALIZED: initialized,
    types.TEXT_DOCUMENT_DID_OPEN: did_open,
    types.TEXT_DOCUMENT_DID_CHANGE: did_change,
    types.TEXT_DOCUMENT_DID_SAVE: did_save,
    types.TEXT_DOCUMENT_DID_CLOSE: did_close,
    types.WORKSPACE_DID_CHANGE_WATCHED_FILES: did_change_watched_files,
    types.TEXT_DOCUMENT_CODE_ACTION: code_action,
    types.TEXT_DOCUMENT_HOVER: hover,
    types.SHUTDOWN: shutdown,
}
_OPTIONS = {
    types.TEXT_DOCUMENT_CODE_ACTION: types.CodeActionOptions([types.CodeActionKind.QuickFix, convert.FIX_ALL]),
}


def serve(version: str) -> int:
    """Speak with an editor on stdin and stdout until it says that this is the end; return the exit code."""
    server = Server(version)
    for feature, handler in HANDLERS.items():
        server.feature(feature, _OPTIONS.get(feature))(handler)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # there is nothing to put away, and a thread that waits for input
    if sys.stdin.isatty():
        click.echo("bnlint server is started by an editor and speaks with it on stdin and stdout", err=True)
    server.start_io()
    return 0 if server.asked_to_stop else 1

"""An editor that speaks with `bnlint server` as a process, over its stdin and stdout."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.client import LanguageClient

#: seconds that nothing takes unless it hangs
PATIENCE = 120


class Editor(LanguageClient):
    """Holds texts, remembers what it was told, and changes a text as an edit says."""

    def __init__(self, folder: Path) -> None:
        super().__init__("test", "1")
        self.folder = folder
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.told: list[types.PublishDiagnosticsParams] = []
        self.shown: list[str] = []
        self.logged: list[str] = []
        self.watched: list[str] = []
        self.news = asyncio.Event()
        self.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(self._note(self.told.append))
        self.feature(types.WINDOW_SHOW_MESSAGE)(self._note(lambda params: self.shown.append(params.message)))
        self.feature(types.WINDOW_LOG_MESSAGE)(self._note(lambda params: self.logged.append(params.message)))
        self.feature(types.CLIENT_REGISTER_CAPABILITY)(self._note(self._register))

    def _note(self, note: Callable[[Any], None]) -> Callable[[Any], None]:
        def handler(params: Any) -> None:
            note(params)
            self.news.set()

        return handler

    def _register(self, params: types.RegistrationParams) -> None:
        for registration in params.registrations:
            self.watched += [watcher["globPattern"] for watcher in registration.register_options["watchers"]]

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until something holds, and return it."""
        async with asyncio.timeout(PATIENCE):
            while not (found := holds()):
                self.news.clear()
                await self.news.wait()
        return found

    async def initialize(self, *encodings: str, watches: bool = False) -> types.InitializeResult:
        general = types.GeneralClientCapabilities(position_encodings=list(encodings)) if encodings else None
        watching = types.DidChangeWatchedFilesClientCapabilities(dynamic_registration=watches)
        workspace = types.WorkspaceClientCapabilities(did_change_watched_files=watching)
        folders = [types.WorkspaceFolder(self.folder.as_uri(), "folder")]
        result = await self.initialize_async(
            types.InitializeParams(types.ClientCapabilities(workspace, general=general), workspace_folders=folders)
        )
        self.initialized(types.InitializedParams())
        return result

    def open(self, name: str, text: str, language: str = "python") -> str:
        uri = (self.folder / name).as_uri()
        self.texts[uri], self.versions[uri] = text, 1
        self.text_document_did_open(types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, language, 1, text)))
        return uri

    def type(self, uri: str, *changes: tuple[int, int, int, int, str]) -> None:
        """Replace ranges, in units of UTF-16, one after the other, and tell so."""
        told: list[types.TextDocumentContentChangeEvent] = []
        for row, column, end_row, end_column, text in changes:
            where = types.Range(types.Position(row, column), types.Position(end_row, end_column))
            self.texts[uri] = replaced(self.texts[uri], [types.TextEdit(where, text)])
            told.append(types.TextDocumentContentChangePartial(where, text))
        self._changed(uri, told)

    def replace(self, uri: str, text: str) -> None:
        """Replace the whole text, and tell so."""
        self.texts[uri] = text
        self._changed(uri, [types.TextDocumentContentChangeWholeDocument(text)])

    def _changed(self, uri: str, changes: list[types.TextDocumentContentChangeEvent]) -> None:
        self.versions[uri] += 1
        identifier = types.VersionedTextDocumentIdentifier(self.versions[uri], uri)
        self.text_document_did_change(types.DidChangeTextDocumentParams(identifier, changes))

    def save(self, uri: str) -> None:
        self.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def close(self, uri: str) -> None:
        self.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def disk(self, *names: str) -> None:
        """Tell that files have changed on the disk."""
        changes = [types.FileEvent((self.folder / name).as_uri(), types.FileChangeType.Changed) for name in names]
        self.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams(changes))

    async def found(self, uri: str, *codes: str) -> list[types.Diagnostic]:
        """Wait until these are the codes of the findings that are shown for the text as it is; return the findings."""

        def shown() -> types.PublishDiagnosticsParams | None:
            last = next((each for each in reversed(self.told) if each.uri == uri), None)
            fits = last is not None and last.version == self.versions.get(uri)
            return last if last is not None and fits and [str(d.code) for d in last.diagnostics] == [*codes] else None

        return list((await self.until(shown)).diagnostics)

    async def actions(self, uri: str, at: types.Range, *only: str) -> list[types.CodeAction]:
        context = types.CodeActionContext([], list(only) or None)
        answer = await self.text_document_code_action_async(
            types.CodeActionParams(types.TextDocumentIdentifier(uri), at, context)
        )
        return [each for each in answer or () if isinstance(each, types.CodeAction)]

    def after(self, action: types.CodeAction) -> str:
        """Return the one text that an action changes, changed."""
        assert action.edit is not None and action.edit.document_changes is not None
        (change,) = action.edit.document_changes
        assert isinstance(change, types.TextDocumentEdit)
        uri = change.text_document.uri
        assert change.text_document.version == self.versions[uri]
        return replaced(self.texts[uri], [edit for edit in change.edits if isinstance(edit, types.TextEdit)])

    async def hover(self, uri: str, row: int, column: int) -> str | None:
        where = types.HoverParams(types.TextDocumentIdentifier(uri), types.Position(row, column))
        answer = await self.text_document_hover_async(where)
        return answer.contents.value if answer and isinstance(answer.contents, types.MarkupContent) else None


def replaced(text: str, edits: list[types.TextEdit]) -> str:
    """Apply edits whose columns count units of UTF-16, all of them places in the text as it is given."""
    units = text.encode("utf-16-le")

    def offset(position: types.Position) -> int:
        start = 0
        for _ in range(position.line):
            start = next(i for i in range(start, len(units), 2) if units[i : i + 2] == b"\n\0") + 2
        return start + 2 * position.character

    for edit in sorted(edits, key=lambda each: (each.range.start.line, each.range.start.character), reverse=True):
        start, end = offset(edit.range.start), offset(edit.range.end)
        units = units[:start] + edit.new_text.encode("utf-16-le") + units[end:]
    return units.decode("utf-16-le")


def talk(
    folder: Path,
    scenario: Callable[[Editor], Awaitable[None]],
    command: tuple[str, ...] = ("-m", "bnlint", "server"),
) -> tuple[int, str]:
    """Start a server, let an editor speak with it to the end, and return its exit code and what it said on stderr."""

    async def session() -> tuple[int, str]:
        editor = Editor(folder)
        await editor.start_io(sys.executable, *command)
        server = editor._server
        assert server is not None and server.stderr is not None
        said = asyncio.create_task(server.stderr.read())
        try:
            await scenario(editor)
            await editor.shutdown_async(None)
            editor.exit(None)
            code = await asyncio.wait_for(server.wait(), PATIENCE)
        finally:
            if server.returncode is None:
                server.kill()
            await editor.stop()
        return code, (await said).decode()

    return asyncio.run(asyncio.wait_for(session(), PATIENCE))

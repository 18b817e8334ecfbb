"""The settings of each file: the nearest configuration, and the command line on top of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnlint.cache import FOLDER, is_of_others
from bnlint.catalog import BY_CODE
from bnlint.config import Config, load, load_folder, matches, require_known, selected
from bnlint.errors import UsageError
from bnlint.finding import Finding, Severity
from bnlint.paths import exists, is_folder
from bnlint.source.patterns import Patterns, anchored
from bnlint.vocabulary import NO_WORDS, Vocabulary

if TYPE_CHECKING:
    from bnlint.pages import Page


@dataclass(frozen=True)
class Settings:
    """What holds in a run.

    `options` are those of the command line, by name. What they leave open comes from the nearest configuration file
    of each source file, or from the one file that `--config` names.
    """

    options: Mapping[str, Any]
    here: Path = field(default_factory=Path.cwd)
    _folders: dict[Path, Config] = field(default_factory=dict)
    _patterns: dict[tuple[Path, tuple[str, ...]], Patterns] = field(default_factory=dict)
    _own: dict[Path | None, tuple[Mapping[str, Page], Vocabulary]] = field(default_factory=dict)
    _words: dict[Path, Vocabulary] = field(default_factory=dict)
    _real: dict[Path, Path] = field(default_factory=dict)

    @cached_property
    def base(self) -> Config:
        """The settings for the working folder, which hold for what belongs to the whole run."""
        return self.of_folder(self.here)

    @cached_property
    def fixed(self) -> Config | None:
        """The one configuration of all files, None where each has its nearest."""
        override, isolated = self.options.get("config"), self.options.get("isolated", False)
        if override and isolated:
            raise UsageError("--config names a configuration file, and --isolated reads none", hint="take one of them")
        return load(self.here, override=override, isolated=isolated) if override or isolated else None

    @property
    def files(self) -> list[Path]:
        """The configuration files that were read so far."""
        return sorted({config.file for config in self._folders.values() if config.file is not None})

    def of_folder(self, folder: Path) -> Config:
        """Return the settings for the files of an absolute folder."""
        if folder not in self._folders:
            self._folders[folder] = self._found(folder)
        return self._folders[folder]

    def vocabulary(self, file: Path) -> Vocabulary:
        """Return the words that hold in an absolute file."""
        if file not in self._words:
            self._words[file] = self._own_of(self.of_folder(self._resolved(file.parent)))[1]
        return self._words[file]

    def _resolved(self, folder: Path) -> Path:
        if folder not in self._real:
            self._real[folder] = folder.resolve()
        return self._real[folder]

    def pages(self) -> dict[str, Page]:
        """Return the rule pages by code: bnlint's, and those of the working folder and of all that was checked."""
        from bnlint.pages import load_pages

        pages = load_pages()
        for config in (self.base, *self._folders.values()):
            for code, page in self._own_of(config)[0].items():
                if pages.setdefault(code, page) != page:
                    raise UsageError(f"another configuration has another page of {code}", where=str(config.file))
        return pages

    def wanted(self, finding: Finding) -> bool:
        """Whether a finding is to be reported: its rule is selected, and so is the one that it is about."""
        if finding.location is None or finding.module is not None:
            return selected(self.base, finding.code)
        path = (self.here / finding.location.path).resolve()
        codes = [code for code in (finding.code, finding.about) if code is not None]
        config = self.of_folder(path.parent)
        return all(selected(config, code) for code in codes) and not self._ignored(config, path, codes)

    def excludes(self, folder: Path) -> tuple[Patterns, ...]:
        """Return the patterns of paths to leave out that hold in an absolute folder."""
        config = self.of_folder(folder)
        listed = (
            (self.root(config), (*config.exclude, *config.extend_exclude)),
            # Outside of the working folder, only patterns that hold at any depth can match.
            (
                self.here if folder.is_relative_to(self.here) else Path(folder.anchor),
                (*_listed(self.options, "exclude"), *_listed(self.options, "extend_exclude")),
            ),
        )
        return tuple(self._compiled(root, patterns) for root, patterns in listed if patterns)

    def root(self, config: Config) -> Path:
        """The folder that the paths in a configuration are relative to."""
        return self.here if config.file is None or self.options.get("config") else config.file.parent

    @property
    def baseline(self) -> Path | None:
        """The baseline file of the run."""
        if self.options.get("baseline"):
            return Path(self.options["baseline"])
        return self.root(self.base) / self.base.baseline if self.base.baseline else None

    @property
    def cache(self) -> Path | None:
        """The folder of the cache, None where nothing is to be kept."""
        if self.options.get("no_cache"):
            return None
        folder = Path(self.options.get("cache_dir") or self.root(self.base) / (self.base.cache_dir or FOLDER))
        if exists(folder) and not is_folder(folder):
            raise UsageError("the cache is a folder, and this is none", where=str(folder))
        if is_of_others(folder):
            what, hint = "the cache has a folder of its own, and this holds other files", f"name {folder / FOLDER}"
            raise UsageError(what, where=str(folder), hint=hint)
        return folder

    def _own_of(self, config: Config) -> tuple[Mapping[str, Page], Vocabulary]:
        if not (config.rule_folders or config.words):
            return {}, NO_WORDS
        if config.file not in self._own:
            from bnlint.ownrules import load_own_pages, vocabulary

            pages = load_own_pages([self.root(config) / folder for folder in config.rule_folders])
            self._own[config.file] = pages, vocabulary(config.words, pages, config.file)
        return self._own[config.file]

    @cached_property
    def _names_here(self) -> Mapping[str, str]:
        """The rules that the command line may name: those of bnlint, and of the working folder's own."""
        return self._names(self.fixed or load(self.here))

    def _names(self, config: Config) -> Mapping[str, str]:
        own = self._own_of(config)[0]
        return {code: rule.name for code, rule in BY_CODE.items()} | {code: page.name for code, page in own.items()}

    def _found(self, folder: Path) -> Config:
        if self.fixed is not None:
            return self._with_options(self.fixed)
        own = load_folder(folder)
        if own is not None or folder.parent == folder:
            return self._with_options(own or Config())
        return self.of_folder(folder.parent)

    def _compiled(self, root: Path, patterns: tuple[str, ...]) -> Patterns:
        key = (root, patterns)
        if key not in self._patterns:
            self._patterns[key] = Patterns.compile(root, [anchored(pattern, root) for pattern in patterns])
        return self._patterns[key]

    def _ignored(self, config: Config, path: Path, codes: Collection[str]) -> bool:
        return any(
            any(matches(ignored, code) for code in codes) and self._is_meant(config, path, pattern)
            for pattern, ignored in config.per_file_ignores
        )

    def _is_meant(self, config: Config, path: Path, pattern: str) -> bool:
        """Whether a file is one that a pattern is for; with `!` in front it is for all others."""
        plain = pattern.removeprefix("!")
        matched = self._compiled(self.root(config), (plain,)).verdict(str(path)) is True
        return matched != (plain != pattern)

    def _with_options(self, config: Config) -> Config:
        names = self._names(config)
        require_known(config, names)
        options = self.options
        changes = {name: options[name] for name in _TAKEN if options.get(name) is not None}
        if options.get("fail_on"):
            changes["fail_on"] = Severity(options["fail_on"])
        if options.get("exclude"):
            changes["exclude"] = ()
        select, extend, ignore = (_codes(options, name) for name in _SELECTION)
        if not (select or extend or ignore):
            return replace(config, **changes)
        require_known(Config(select=select, extend_select=extend, ignore=ignore), self._names_here)
        return _narrowed(replace(config, **changes), tuple(names), select, extend, ignore)


#: the options that take the place of a key as they are
_TAKEN = ("force_exclude", "respect_gitignore", "unsafe_fixes", "output_format")
_SELECTION = ("select", "extend_select", "ignore")


def _listed(options: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return what an option names that takes lists with commas, and may be repeated."""
    return tuple(part.strip() for value in options.get(name) or () for part in value.split(",") if part.strip())


def _codes(options: Mapping[str, Any], name: str) -> tuple[str, ...]:
    codes = _listed(options, name)
    if options.get(name) and not codes:
        raise UsageError(f"--{name.replace('_', '-')} names no rule", hint="`bnlint rule` lists them")
    return codes


def _narrowed(
    config: Config, codes: Sequence[str], select: tuple[str, ...], extend: tuple[str, ...], ignore: tuple[str, ...]
) -> Config:
    """Lay the selection of the command line over that of a configuration: what was said last decides."""
    if select:
        return replace(config, select=select, extend_select=extend, ignore=ignore)
    left = tuple(code for code in codes if selected(config, code) or matches(extend, code))
    return replace(config, select=left, extend_select=(), ignore=ignore)

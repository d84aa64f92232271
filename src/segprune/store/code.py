"""Which code and which libraries compute a result: where these are the same, so is the result.

- Of segprune, a module counts with all modules that it imports, that these import, and so on, also those imported
  inside functions. What is imported for annotations alone is not followed, nor are the ``KEEPERS``.
- Any other package that is no installed library counts as a whole, with all sub-packages and what links lead to. A
  package that is named as a part of the work counts as a whole even if it is installed.
- Installed libraries count by their versions: those that such code imports, and those built on torch or numpy that
  these require.

A file counts by its path and its syntax tree without comments, docstrings and positions, so that only an edit that
can change what it does counts. Sources of compiled code count by their bytes; other files are no code. A package is
read once per process: a file that is edited later is not what the process runs. What is imported by a name that is
computed while the program runs is not followed.
"""

import ast
import functools
import hashlib
import importlib.machinery
import importlib.util
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import NamedTuple

from segprune.store.libraries import is_of_python, libraries, versions_of

HOME = "segprune"
KEEPERS = {
    *("errors", "gpu", "importing", "shortage", "stop", "durable", "status"),
    *("checkpoint", "store", "tracking"),
    *(
        "result.files",
        "stage.contract",
        "stage.identity",
        "stage.kept",
        "stage.planned",
        "stage.several_gpus",
        "stage.state",
        "stage.trial",
        "training.together",
    ),
}
"""Rooms and modules that check, start, store or report what others compute, and change none of it.

What can change a number belongs in another module, also a single property of an object that stages are given.
"""
QUIET = {"filelock", "matplotlib", "pandas", "psutil", "pydantic", "safetensors", "tqdm", "typing_extensions"}
"""Libraries that segprune uses to check, store, draw or report, not to compute."""
COMPILED = (*importlib.machinery.EXTENSION_SUFFIXES, ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".pyx")

Files = Mapping[str, bytes]
"""Path below a package, with ``/`` between its folders -> content."""


def code_of(
    modules: Iterable[str], *, without: Collection[str] = (), read: Callable[[str], Files] | None = None
) -> dict[str, dict[str, str]]:
    """The code behind modules: ``code``, room or package -> digest, and ``libraries``, name -> version.

    Args:
        modules: Dotted names of the modules that do the work.
        without: Rooms and modules of segprune (``measure``, ``measure.cost``) that they import and that do not
            change this result.
        read: Name of a package -> its files; ``None``: as they were when this process first looked.
    """
    code, needed = _behind(frozenset(modules), frozenset(without), read or files_of)
    return {"code": dict(code), "libraries": versions_of(needed)}


@functools.cache
def _behind(
    modules: frozenset[str], without: frozenset[str], read: Callable[[str], Files]
) -> tuple[Mapping[str, str], Collection[str]]:
    """Room or package -> digest, and the libraries."""
    search = _Search(without, read)
    for name in sorted(modules):
        search.add(name)
    code = {room: _sha256(repr(sorted(files.items())))[:16] for room, files in sorted(search.code.items())}
    return code, search.libraries


def callables_of(node: object) -> Iterator[tuple[str, str]]:
    """Module and name of every callable that a node of the configuration names, wherever in it."""
    if isinstance(node, dict) and isinstance(made_by := node.get("_target_"), str):
        module, _, name = made_by.rpartition(".")
        yield module, name
        factory = node.get("factory")
        if isinstance(factory, str) and ":" in factory:  # package.module:name
            module, _, name = factory.partition(":")
            yield module, name
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from callables_of(value)


def target_modules(node: object) -> set[str]:
    """The modules of all callables that a node names, wherever in it."""
    return {module for module, _ in callables_of(node) if module}


def modules_of(part: object) -> set[str]:
    """The modules that define a configured object and the objects that it holds; a text is the name of one."""
    return {part} if isinstance(part, str) else set(_modules(part))


def _modules(part: object) -> Iterator[str]:
    if is_dataclass(part) and not isinstance(part, type):
        yield from (base.__module__ for base in type(part).__mro__ if is_dataclass(base))
        part = [getattr(part, field.name) for field in fields(part)]
    if isinstance(part, Mapping):
        part = list(part.values())
    if isinstance(part, list | tuple):
        for one in part:
            yield from _modules(one)


@functools.cache
def files_of(package: str) -> Files:
    """The source files of a package, or of a module that is in no package, as this process first read them."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # the script that was started, ``__main__``
        return {}
    if spec is None:
        return {}
    if spec.submodule_search_locations is None:
        file = Path(spec.origin or "")
        return {file.name: file.read_bytes()} if file.is_file() else {}
    # a package may lie in several folders; of two files with one name Python takes that of the first
    roots = [*map(Path, spec.submodule_search_locations)][::-1]
    archives = [
        one for root in roots for one in root.parents if one.is_file()
    ]  # Python imports from these too
    if archives:
        return {archive.name: archive.read_bytes() for archive in archives}
    return {path.relative_to(root).as_posix(): path.read_bytes() for root in roots for path in _below(root)}


class _Search:
    """Collects what modules import."""

    def __init__(self, without: Collection[str], read: Callable[[str], Files]) -> None:
        self.code: dict[str, dict[str, str]] = {}
        self.libraries: set[str] = set()
        self._left_out = {f"{HOME}.{name}" for name in (*KEEPERS, *without)}
        self._read = read
        self._seen: set[str] = set()

    def add(self, name: str) -> None:
        """Add a module that does the work, with all behind it."""
        if _top(name) == HOME:
            self._add_home(name)
        elif not is_of_python(_top(name)):
            self._add_package(_top(name))

    def _add_import(self, name: str) -> None:
        top = _top(name)
        if top == HOME:
            self._add_home(name)
        elif is_of_python(top):
            return
        elif libraries(top):
            self.libraries.add(top)
        else:
            self._add_package(top)

    def _add_home(self, name: str) -> None:
        """The module of a dotted name, and the packages it is in: importing it runs these too."""
        parts = name.split(".")[1:]
        for count in range(1, len(parts) + 1):
            module, path = ".".join((HOME, *parts[:count])), "/".join(parts[:count])
            if module in self._left_out:
                return
            files = self._read(HOME)
            file = next((one for one in (f"{path}.py", f"{path}/__init__.py") if one in files), None)
            if file is None or module in self._seen:
                continue
            self._seen.add(module)
            parsed = _parsed(files[file])
            self.code.setdefault(file.partition("/")[0], {})[file] = parsed.digest
            package = module if file.endswith("__init__.py") else module.rpartition(".")[0]
            for other in parsed.imports:
                if _top(other) not in QUIET:
                    self._add_import(importlib.util.resolve_name(other, package))

    def _add_package(self, top: str) -> None:
        if top in self._seen:
            return
        self._seen.add(top)
        for path, content in self._read(top).items():
            is_python = path.endswith(".py")
            parsed = _parsed(content) if is_python else _Parsed(_sha256(content), frozenset(), frozenset())
            self.code.setdefault(f"package {top}", {})[path] = parsed.digest
            for other in parsed.imports | parsed.noted:
                if not other.startswith("."):
                    self._add_import(other)


class _Parsed(NamedTuple):
    """What a source file does, as a digest, and the dotted names that it imports; relative ones begin with dots.

    ``noted`` are those whose name stands in annotations alone.
    """

    digest: str
    imports: frozenset[str]
    noted: frozenset[str]


@functools.cache
def _parsed(content: bytes) -> _Parsed:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # not for this Python: nothing that runs here imports it
        return _Parsed(_sha256(content), frozenset(), frozenset())
    running = _running(tree)
    used = {node.id for node in running if isinstance(node, ast.Name)}
    noted = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - used
    imports = frozenset(_imports(running, noted))
    return _Parsed(_sha256(_meaning(tree)), imports, frozenset(_imports(running, set())) - imports)


def _meaning(tree: ast.AST) -> str:
    """A syntax tree as text without docstrings, and without what is empty, in which versions of Python differ."""
    text: list[str] = []
    _write(tree, text)
    return "".join(text)


def _write(node: object, text: list[str]) -> None:
    if isinstance(node, ast.AST):
        text.append(f"{type(node).__name__}(")
        comma = ""
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name == "kind":
                continue
            text.append(f"{comma}{name}=")
            _write(value, text)
            comma = ","
        text.append(")")
    elif isinstance(node, list):
        text.append("[")
        comma = ""
        for one in node:
            if not _is_text(one):
                text.append(comma)
                _write(one, text)
                comma = ","
        text.append("]")
    else:
        text.append(repr(node))


def _is_text(node: object) -> bool:
    """Whether a statement is a text alone, as a docstring is."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(running: Sequence[ast.AST], left_out: Collection[str]) -> Iterator[str]:
    """The dotted names that nodes import, also by ``import_module("name")``, but those left out by their name."""
    for node in running:
        if isinstance(node, ast.Call) and _is_import(node.func) and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value:
                yield name.value
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if (one.asname or _top(one.name)) not in left_out)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for one in node.names:
                if (one.asname or one.name) not in left_out:
                    yield f"{module}{'' if module.endswith('.') else '.'}{one.name}"


def _is_import(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    return name in ("import_module", "__import__")


def _running(tree: ast.AST) -> list[ast.AST]:
    """The nodes of a tree that do something: no annotations, and nothing for type checkers alone."""
    found, left = [], [tree]
    while left:
        node = left.pop()
        found.append(node)
        for name in node._fields:
            if name in ("annotation", "returns") or (name == "body" and _is_for_checkers(node)):
                continue
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                left.append(value)
            elif isinstance(value, list):
                left += [child for child in value if isinstance(child, ast.AST)]
    return found


def _is_for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _below(root: Path) -> Iterator[Path]:
    seen = set[str]()
    for folder, folders, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:  # by a link, perhaps to a folder above
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        yield from (Path(folder, name) for name in sorted(names) if name.endswith((".py", *COMPILED)))


def _top(name: str) -> str:
    return name.partition(".")[0]


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()

"""Checks over the source text of the package: layers, purity, size, and what a test may do.

Each check is a function from source text to faults, so that tests/test_tidy.py can run it over
the package *and* show, on a bad snippet, that it bites. A fault is one line, "12: what is wrong".
"""

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping

# ---------------------------------------------------------------------------------- the layers

_VALUES = (
    *("errors", "config", "keyspace", "identity", "author", "contacts", "records", "network"),
)
_PURE_CORE = (*_VALUES, "wire", "core")

# What each part of dht/ may import, besides itself. A part that is missing here has no layer yet:
# whoever adds one says where it stands.
MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "errors": (),
    "config": ("errors", "keyspace"),
    "keyspace": ("errors", "config"),
    # One tier, whose members may know each other; test_no_circle keeps them in some order.
    "identity": ("errors", "config", "keyspace", "contacts", "records"),
    "contacts": ("errors", "config", "keyspace", "identity", "records"),
    "author": ("errors", "config", "keyspace"),
    "records": ("errors", "config", "keyspace", "identity", "author", "contacts"),
    "network": ("errors", "config", "keyspace"),
    "wire": _VALUES,
    "core": (*_VALUES, "wire"),
    "sim": _PURE_CORE,
    "lab": (*_PURE_CORE, "sim"),
    # The shell knows nothing of sim and lab: a node in production carries no simulator.
    "shell": _PURE_CORE,
    "__init__": (*_PURE_CORE, "shell"),
    "blocking": (*_PURE_CORE, "shell"),
    "aio": (*_PURE_CORE, "shell"),
    "testing": (*_PURE_CORE, "shell", "sim"),
    "cli": (*_PURE_CORE, "shell", "sim", "lab", "testing", "blocking", "aio"),
    "__main__": ("cli",),
}

# Where nothing reads a clock, a socket, a file or an entropy source.
PURE = frozenset({*_PURE_CORE, "sim"})

# The outer world, by its top-level names.
_IMPURE_MODULES = frozenset(
    {
        # loops and threads
        *("trio", "asyncio", "anyio", "threading", "multiprocessing", "concurrent", "signal"),
        # network
        *("socket", "select", "selectors", "ssl", "http", "urllib"),
        # clocks
        *("time", "datetime", "sched"),
        # entropy
        *("secrets", "uuid"),
        # files and processes
        *("os", "io", "pathlib", "tempfile", "shutil", "sqlite3", "subprocess"),
    }
)
_IMPURE_CALLS = frozenset({"open", "print", "input", "breakpoint"})

# ---------------------------------------------------------------------------------- allowances

# Files over FILE_LINES and functions over FUNCTION_LINES, each with the reason a reader accepts.
# Counted are code lines: no comments, no docstrings, no blank lines.
FILE_LINES = 400
FUNCTION_LINES = 60
LONG_FILES: Mapping[str, str] = {
    "dht/core/engine.py": "one node: each of its inputs and outputs is a method here, and hands on",
    "dht/shell/node.py": "the public face: each operation with all its options, and what it says",
}
LONG_FUNCTIONS: Mapping[str, str] = {}

# A module-level comment that allows imports inside functions, and says why:
#     # lazy imports: click and rich belong to an extra that may be absent
LAZY_IMPORTS_MARK = "# lazy imports: "


def part_of(module: str) -> str:
    """Name the part of the package that a module belongs to: "dht.core.lookup" is "core"."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


# ------------------------------------------------------------------------------ what it imports


def own_imports(module: str, source: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield (line, full dotted target) of every relative import, wherever it stands.

    ``from .x import y`` gives both "dht.x" and "dht.x.y", as y may be a module; the caller drops
    what is none.
    """
    names = module.split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = names[: len(names) - node.level + (1 if is_package else 0)]
            stem = ".".join([*base, *([node.module] if node.module else [])])
            if node.module:
                yield node.lineno, stem
            for alias in node.names:
                yield node.lineno, f"{stem}.{alias.name}"


def layer_faults(module: str, source: str, *, is_package: bool) -> Iterator[str]:
    """Find imports that point up, and those that name the package itself."""
    part = part_of(module)
    if part not in MAY_IMPORT:
        yield f"1: dht/{part} has no layer: give it one in MAY_IMPORT"
        return
    for node in ast.walk(ast.parse(source)):
        absolute = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
        for name in absolute:
            if name.split(".")[0] == "dht":
                yield f"{_line(node)}: imports {name} by its full name; inside, say it relatively"
    allowed = {part, *MAY_IMPORT[part]}
    for line, target in own_imports(module, source, is_package=is_package):
        if part_of(target) not in allowed:
            yield f"{line}: {part} must not import {target}"


def find_circle(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the modules of one import circle, first and last the same, or nothing."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module not in done:
            for target in imports.get(module, ()):
                if circle := walk(target, [*path, module]):
                    return circle
            done.add(module)
        return []

    for module in imports:
        if circle := walk(module, []):
            return circle
    return []


def lazy_import_faults(source: str) -> Iterator[str]:
    """Find imports inside functions, unless the module says at its top level why it has them."""
    if any(
        line.startswith(LAZY_IMPORTS_MARK) and line[len(LAZY_IMPORTS_MARK) :].strip()
        for line in source.splitlines()
    ):
        return
    for function in _functions(ast.parse(source)):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield f"{node.lineno}: an import inside {function.name}()"


# --------------------------------------------------------------------------------------- purity


def purity_faults(source: str) -> Iterator[str]:
    """Find what reads or touches the outer world: clock, entropy, I/O, another task."""
    tree = ast.parse(source)
    in_hash_methods = {
        id(node)
        for function in _functions(tree)
        if function.name == "__hash__"
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.split(".")[0] in {*_IMPURE_MODULES, "random"}:
                        yield f"{node.lineno}: imports {alias.name}"
            case ast.ImportFrom(module="random", names=names):
                for alias in names:
                    if alias.name != "Random":
                        yield f"{node.lineno}: of random only Random, which is passed in"
            case ast.ImportFrom(level=0, module=str(name)):
                if name.split(".")[0] in _IMPURE_MODULES:
                    yield f"{node.lineno}: imports {name}"
            case ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith() | ast.Await():
                yield f"{node.lineno}: async in a part that nobody waits for"
            case ast.Call(func=ast.Name(id=name)) if name in _IMPURE_CALLS:
                yield f"{node.lineno}: calls {name}()"
            case ast.Call(func=ast.Name(id="hash")) if id(node) not in in_hash_methods:
                yield f"{node.lineno}: hash() differs from process to process"
            case ast.Call(func=ast.Name(id="id")):
                yield f"{node.lineno}: id() differs from process to process"
            case ast.Call(func=ast.Name(id="Random"), args=[], keywords=[]):
                yield f"{node.lineno}: Random() without a seed reads the system's entropy"
            case ast.Call(func=ast.Attribute(attr="generate"), args=[], keywords=[]):
                yield f"{node.lineno}: .generate() reads the system's entropy; pass the bytes in"


_SET_TYPES = frozenset({"set", "frozenset", "AbstractSet", "MutableSet"})
_SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference"})
_ORDER_KEEPERS = frozenset({"list", "tuple", "iter", "enumerate", "reversed", "zip", "map"})


def set_order_faults(source: str) -> Iterator[str]:
    """Find iterations over sets, whose order hangs on PYTHONHASHSEED once they hold bytes.

    A reasonable check, no proof: it knows displays, ``set(...)`` and what is annotated or assigned
    as a set in the same function (names) or module (attributes). ``sorted(...)`` makes order; a
    set comprehension over a set makes none, and needs none.
    """
    tree = ast.parse(source)
    attributes = _set_names(ast.walk(tree), of=ast.Attribute) | _set_fields(tree)
    at_top = _set_names(_own_nodes(tree), of=ast.Name)
    scopes: list[tuple[ast.AST, set[str]]] = [(tree, at_top)]
    scopes += [
        (
            function,
            at_top | _set_names(_own_nodes(function), of=ast.Name) | _set_parameters(function),
        )
        for function in _functions(tree)
    ]
    for scope, names in scopes:
        for node in _own_nodes(scope):
            for iterated in _iterated(node):
                if _is_set(iterated, names, attributes):
                    yield f"{_line(iterated)}: iterates over the set {ast.unparse(iterated)}"


def _iterated(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.For(iter=iterated):
            return [iterated]
        case ast.ListComp() | ast.DictComp() | ast.GeneratorExp():
            return [generator.iter for generator in node.generators]
        case ast.Call(func=ast.Name(id=name), args=args) if name in _ORDER_KEEPERS:
            return list(args)
        case ast.Call(func=ast.Attribute(value=value, attr="pop"), args=[]):
            return [value]
        case ast.Starred(value=value):
            return [value]
    return []


def _is_set(node: ast.expr, names: set[str], attributes: set[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in _SET_TYPES
        case ast.Call(func=ast.Attribute(value=value, attr=attr)):
            return attr in _SET_METHODS and _is_set(value, names, attributes)
        case ast.BinOp(left=left, right=right):
            return _is_set(left, names, attributes) or _is_set(right, names, attributes)
        case ast.Name(id=name):
            return name in names
        case ast.Attribute(attr=attr):
            return attr in attributes
    return False


def _is_set_type(annotation: ast.expr | None) -> bool:
    match annotation:
        case ast.Subscript(value=ast.Name(id=name)) | ast.Name(id=name):
            return name in _SET_TYPES
        case ast.Subscript(value=ast.Attribute(attr=name)):
            return name in _SET_TYPES
    return False


def _set_names(nodes: Iterable[ast.AST], *, of: type[ast.Name | ast.Attribute]) -> set[str]:
    found = set()
    for node in nodes:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign) and _is_set(node.value, set(), set()):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and _is_set_type(node.annotation):
            targets = [node.target]
        for target in targets:
            if isinstance(target, of):
                found.add(target.id if isinstance(target, ast.Name) else target.attr)
    return found


def _set_fields(tree: ast.Module) -> set[str]:
    """Names of the sets declared in class bodies, which are reached as attributes."""
    return {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for name in _set_names(node.body, of=ast.Name)
    }


def _set_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    parameters = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return {each.arg for each in parameters if _is_set_type(each.annotation)}


# ----------------------------------------------------------------------------------------- size


def code_lines(source: str) -> set[int]:
    """Return the numbers of the lines that hold code: no comment, docstring or blank line."""
    silent = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return lines


def size_faults(path: str, source: str) -> Iterator[str]:
    """Find a file or function that is too long and has no reason in the two lists above."""
    lines = code_lines(source)
    if len(lines) > FILE_LINES and path not in LONG_FILES:
        yield f"1: {len(lines)} code lines, {FILE_LINES} allowed"
    for function in _functions(ast.parse(source)):
        length = sum(function.lineno <= line <= (function.end_lineno or 0) for line in lines)
        if length > FUNCTION_LINES and f"{path}:{function.name}" not in LONG_FUNCTIONS:
            yield f"{function.lineno}: {function.name}() has {length} code lines"


# ---------------------------------------------------------------------------------------- tests


def sleep_faults(source: str) -> Iterator[str]:
    """Find tests that wait in real time: they are slow when they pass and flaky when they fail."""
    has_virtual_clock = "autojump" in source
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="time" | "asyncio" as module), attr="sleep")
            ):
                yield f"{node.lineno}: {module}.sleep() waits in real time"
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="trio"), attr="sleep" | "sleep_until")
            ) if not has_virtual_clock:
                yield f"{node.lineno}: trio sleeps without the autojump clock"
            case ast.ImportFrom(module="time" | "trio" | "asyncio", names=names):
                if any(alias.name in {"sleep", "sleep_until"} for alias in names):
                    yield f"{node.lineno}: sleep hides behind a bare name"


def mock_faults(source: str) -> Iterator[str]:
    """Find mocks: they agree with whatever we believe. Fakes have behaviour that can be wrong."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names):
                modules = [module, *(f"{module}.{alias.name}" for alias in names)]
            case _:
                continue
        if any(name.split(".")[0] in {"mock", "pytest_mock"} for name in modules) or any(
            name.startswith("unittest.mock") for name in modules
        ):
            yield f"{_line(node)}: imports mocks; write a fake"


_PYTEST_JUDGES = frozenset({"raises", "warns", "fail", "RaisesGroup"})


def silent_test_faults(source: str) -> Iterator[str]:
    """Find tests that cannot fail: no assert, no pytest.raises, no helper named check or assert."""
    for function in _functions(ast.parse(source)):
        if function.name.startswith("test_") and not any(map(_judges, ast.walk(function))):
            yield f"{function.lineno}: {function.name}() asserts nothing"


def _judges(node: ast.AST) -> bool:
    match node:
        case ast.Assert():
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="pytest"), attr=attr)):
            return attr in _PYTEST_JUDGES
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.lstrip("_").startswith(("check", "assert"))
    return False


# -------------------------------------------------------------------------------------- walking


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Walk a scope without going down into the functions and classes inside it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own_nodes(child)


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)

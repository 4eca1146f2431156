"""A digest of the code that a rule really runs, so that Snakemake reruns a step when its code changes and only then.

Snakemake's own code trigger watches the script file's time stamp and none of the modules that it imports. This digest
follows the imports inside the package, also those within functions, and hashes the syntax trees without comments,
docstrings, type hints and layout: `touch`, `git checkout`, a comment or a docstring changes nothing.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = __name__.split(".")[0]
ROOT = Path(__file__).resolve().parent.parent  # the folder that holds the package


def code_digest(*modules: str) -> str:
    """Digest of `modules` (dotted names) and of all package modules that they import, transitively.

    Raises:
        FileNotFoundError: a module has no file.
    """
    lines = [f"{name} {_normal_form(_module_path(name))}" for name in sorted(used_modules(*modules))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def used_modules(*modules: str) -> set[str]:
    """The dotted names of `modules` and of all package modules that they import, transitively."""
    found: set[str] = set()
    pending = list(modules)
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += _imports(_module_path(module))
    return found


def _module_path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"module {module} has no file below {ROOT}")


def _is_module(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@cache
def _tree(path: Path) -> ast.Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = node.body[1:]
    return tree


@cache
def _normal_form(path: Path) -> str:
    return hashlib.sha256(ast.dump(_tree(path)).encode()).hexdigest()


@cache
def _imports(path: Path) -> tuple[str, ...]:
    modules: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module)
            modules |= {f"{node.module}.{name.name}" for name in node.names}
    inside = {module for module in modules if module.split(".")[0] == PACKAGE and _is_module(module)}
    parents = {".".join(module.split(".")[:depth]) for module in inside for depth in range(1, module.count(".") + 1)}
    return tuple(sorted(inside | parents))

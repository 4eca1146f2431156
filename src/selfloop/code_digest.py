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
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def used_modules(*modules: str) -> set[str]:
    """The dotted names of `modules` and of all package modules that they import, transitively."""
    found: set[str] = set()
    pending = list(modules)
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += _imports(_module_path(module))
            pending += [module.rpartition(".")[0]] if "." in module else []  # the folders around it are imported, too
    return found


def _module_path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"module {module} has no file below {ROOT}")


def is_module(module: str) -> bool:
    """Whether the package has a module of this dotted name."""
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


class _Normal(ast.NodeTransformer):
    """Drops what cannot change what a module does: type hints, what only they need, and docstrings."""

    def __init__(self) -> None:
        self.sections = {"Section"}  # the classes that are sections of the config

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if self.in_class:  # the hint makes it a field of a dataclass
            node.annotation = ast.Constant(None)
            return node
        return None if node.value is None else ast.Assign(targets=[node.target], value=node.value)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if node.module == "typing" else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._body(node, in_class=False)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if any(isinstance(base, ast.Name) and base.id in self.sections for base in node.bases):
            self.sections.add(node.name)
            # A step gets each field's value with its params: no default, limit or description reaches it otherwise.
            node.body = [line for line in node.body if not isinstance(line, ast.AnnAssign | ast.Expr)] or [ast.Pass()]
        return self._body(node, in_class=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._body(node, in_class=False)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self._body(node, in_class=False)

    in_class = False

    def _body(
        self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, in_class: bool
    ) -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        before, self.in_class = self.in_class, in_class
        self.generic_visit(node)
        self.in_class = before
        return node


@cache
def _tree(path: Path) -> ast.Module:
    tree: ast.Module = _Normal().visit(ast.parse(path.read_text(encoding="utf-8")))
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
        elif isinstance(node, ast.ImportFrom):
            # Of a relative import: the folder that holds the module, or one further out for each further dot.
            around = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            origin = ".".join([*around, *filter(None, [node.module])])
            modules |= {origin, *(f"{origin}.{name.name}" for name in node.names)}
    return tuple(sorted(module for module in modules if module.split(".")[0] == PACKAGE and is_module(module)))

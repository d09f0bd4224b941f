"""The source itself: imports point one way, names are documented, files short.

Each rule is a function from a module to its faults, tried on a module that
breaks it before it is tried on the package.
"""

import ast
import pathlib
import sys
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "hwnas_jax"

# A module imports from rows below its own, or from its own part.
LAYERS = (
  ("core",),
  ("spaces", "io"),
  ("nets", "data", "deploy"),
  ("costs",),
  ("method", "train"),
  ("derive", "report"),
  ("config",),
  ("runs",),
  ("commands",),
  ("main", "profile", "query", "export", "scale"),
)
RANK = {part: rank for rank, row in enumerate(LAYERS) for part in row}
SHELL = "__main__"  # `python -m hwnas_jax.data`: as high as main

# Who alone may import a library: parts of the package, or modules of it.
OWNERS = {
  "flax": ("nets.", "costs.predict."),
  "orbax": ("io.checkpoint.",),
  "matplotlib": ("report.",),
  "tensorflow_datasets": ("data.",),
}
LAZY = {"tensorflow_datasets"}
CORE_MAY_IMPORT = {"jax", "numpy", "chex", PACKAGE}
CORE_MAY_NOT_IMPORT = {"os", "pathlib", "io", "shutil", "tempfile"}
MAX_FILE, MAX_FUNCTION = 500, 60

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Module(NamedTuple):
  """A module by its dotted name below the package, and its source."""

  name: str
  source: str

  @property
  def tree(self):
    return ast.parse(self.source)

  @property
  def part(self):
    return self.name.split(".")[0]


def read(folder, pattern="**/*.py"):
  return [
    Module(
      ".".join(path.relative_to(folder).with_suffix("").parts),
      path.read_text(),
    )
    for path in sorted(folder.glob(pattern))
  ]


def imported(tree):
  """Absolute names that the imports in a tree may bring in."""
  names = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      base = "." * node.level + (node.module or "")
      names += [f"{base}.{alias.name}" for alias in node.names]
  return names


def direction_faults(module):
  """Imports of this package that point up or sideways."""
  faults = []
  shell = module.name.endswith(SHELL)
  rank = RANK["main"] if shell else RANK[module.part]
  for name in imported(module.tree):
    if name.startswith("."):
      faults.append(f"{module.name}: {name} is a relative import")
    if not name.startswith(f"{PACKAGE}."):
      continue
    part = name.split(".")[1]
    allowed = part == module.part or RANK[part] < rank
    if not allowed:
      faults.append(f"{module.name} imports {name}")
  return faults


def library_faults(module):
  """Libraries imported by a module that does not own them, or eagerly."""
  faults = []
  eager = {name.split(".")[0] for name in imported(top_level(module.tree))}
  for name in imported(module.tree):
    library = name.split(".")[0]
    owners = OWNERS.get(library)
    if owners and not f"{module.name}.".startswith(owners):
      faults.append(f"{module.name} imports {name}, which is {owners[0]}'s")
    if library in LAZY & eager:
      faults.append(f"{module.name} imports {name} outside a function")
  return faults


def top_level(tree):
  """The tree without the bodies of its functions: what an import runs."""

  class Emptier(ast.NodeTransformer):
    def visit_FunctionDef(self, node):
      return ast.Pass()

    visit_AsyncFunctionDef = visit_FunctionDef

  return Emptier().visit(tree)


def core_faults(module):
  """What core imports beyond arrays, and the files it opens."""
  if module.part != "core":
    return []
  allowed = CORE_MAY_IMPORT | sys.stdlib_module_names - CORE_MAY_NOT_IMPORT
  libraries = {name.split(".")[0] for name in imported(module.tree)}
  faults = [
    f"{module.name} imports {name}" for name in sorted(libraries - allowed)
  ]
  for node in ast.walk(module.tree):
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "open":
      faults.append(f"{module.name}:{node.lineno} opens a file")
  return faults


def public(body):
  """(qualified name, node) of the public classes and functions of a body."""
  for node in body:
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
      if node.name.startswith("_") and node.name != "__call__":
        continue
      yield node.name, node
      if isinstance(node, ast.ClassDef):
        yield from ((f"{node.name}.{n}", x) for n, x in public(node.body))


def is_static(node):
  return any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)


def unannotated(name, node):
  """Arguments of a function (`return` for its result) without a type."""
  found = node.args
  args = [*found.posonlyargs, *found.args]
  if "." in name and not is_static(node):
    args = args[1:]  # self or cls
  args += [*found.kwonlyargs, found.vararg, found.kwarg]
  missing = [a.arg for a in args if a is not None and a.annotation is None]
  return missing + (["return"] if node.returns is None else [])


def documentation_faults(module):
  """Public names without a docstring or a type."""
  faults = []
  if module.source.strip() and not ast.get_docstring(module.tree):
    faults.append(f"{module.name} has no docstring")
  for name, node in public(module.tree.body):
    if not ast.get_docstring(node):
      faults.append(f"{module.name}.{name} has no docstring")
    if isinstance(node, FUNCTIONS):
      faults += [
        f"{module.name}.{name}: {arg} has no type"
        for arg in unannotated(name, node)
      ]
  return faults


def length_faults(module):
  """Files and functions that are too long to see."""
  count = len(module.source.splitlines())
  faults = [f"{module.name}: {count} lines"] if count > MAX_FILE else []
  for node in ast.walk(module.tree):
    if isinstance(node, FUNCTIONS):
      size = node.end_lineno - node.lineno + 1
      if size > MAX_FUNCTION:
        faults.append(f"{module.name}.{node.name}: {size} lines")
  return faults


MODULES = read(ROOT / PACKAGE)
RULES = (
  direction_faults,
  library_faults,
  core_faults,
  documentation_faults,
  length_faults,
)


def test_every_module_has_a_place():
  parts = {m.part for m in MODULES} - {"__init__"}
  assert parts == set(RANK)


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps(rule):
  modules = [m for m in MODULES if m.name != "__init__"]
  faults = [fault for m in modules for fault in rule(m)]
  assert not faults, "\n".join(faults)


@pytest.mark.parametrize("folder", ["tests", "experiments"])
def test_lengths_outside_the_package(folder):
  modules = read(ROOT / folder)
  assert modules
  faults = [fault for m in modules for fault in length_faults(m)]
  assert not faults, "\n".join(faults)


def test_test_modules_have_names_of_their_own():
  names = [m.name.split(".")[-1] for m in read(ROOT / "tests", "**/test_*.py")]
  assert len(names) == len(set(names))
  assert not list((ROOT / "tests").glob("**/__init__.py"))


DOCUMENTED = '"""A module."""\n'


@pytest.mark.parametrize(
  ("rule", "name", "source", "fault"),
  [
    (direction_faults, "core.x", "import hwnas_jax.io.stop", "core.x imports"),
    (direction_faults, "spaces.x", "from hwnas_jax import nets", "spaces.x"),
    (direction_faults, "nets.x", "from hwnas_jax.costs import a", "nets.x"),
    (direction_faults, "io.x", "from hwnas_jax.data import a", "io.x"),
    (direction_faults, "method.x", "import hwnas_jax.train.step", "method.x"),
    (
      direction_faults,
      "derive.x",
      "import hwnas_jax.config.method",
      "derive.x",
    ),
    (direction_faults, "runs.x", "from hwnas_jax.commands import a", "runs.x"),
    (direction_faults, "core.x", "from . import rng", "relative"),
    (direction_faults, "core.x", "from ..io import stop", "relative"),
    (
      direction_faults,
      "core.x",
      "def f():\n  from hwnas_jax.nets.conv import conv",
      "hwnas_jax.nets.conv.conv",
    ),
    (library_faults, "costs.x", "import flax.linen as nn", "which is nets.'s"),
    (
      library_faults,
      "io.x",
      "from orbax.checkpoint import v1",
      "io.checkpoint",
    ),
    (library_faults, "io.checkpoint2", "import orbax", "io.checkpoint"),
    (library_faults, "derive.x", "import matplotlib.pyplot", "report"),
    (library_faults, "io.x", "def f():\n  import flax", "which is nets.'s"),
    (library_faults, "data.x", "import tensorflow_datasets", "outside"),
    (
      library_faults,
      "data.x",
      "try:\n  import tensorflow_datasets as tfds\nexcept ImportError: pass",
      "outside",
    ),
    (
      library_faults,
      "data.x",
      "class A:\n  import tensorflow_datasets as tfds",
      "outside",
    ),
    (core_faults, "core.x", "import optax", "core.x imports optax"),
    (core_faults, "core.x", "import pathlib", "core.x imports pathlib"),
    (core_faults, "core.x", "def f():\n  return open('x')", "opens a file"),
    (documentation_faults, "x", "a = 1", "x has no docstring"),
    (
      documentation_faults,
      "x",
      DOCUMENTED + "def f() -> int:\n  return 1",
      "x.f has no docstring",
    ),
    (
      documentation_faults,
      "x",
      DOCUMENTED + 'class A:\n  """A."""\n  def f(self) -> int: return 1',
      "x.A.f has no docstring",
    ),
    (
      documentation_faults,
      "x",
      DOCUMENTED + 'def f(a, b: int) -> int:\n  """Adds."""',
      "x.f: a has no type",
    ),
    (
      documentation_faults,
      "x",
      DOCUMENTED + 'def f(*args: int, **kw) -> int:\n  """Adds."""',
      "x.f: kw has no type",
    ),
    (
      documentation_faults,
      "x",
      DOCUMENTED + 'def f(a: int):\n  """Adds."""',
      "x.f: return has no type",
    ),
    (length_faults, "x", "\n" * 501, "x: 501 lines"),
    (length_faults, "x", "def f():\n" + "  a = 1\n" * 60, "x.f: 61 lines"),
  ],
)
def test_a_rule_finds(rule, name, source, fault):
  faults = rule(Module(name, source))
  assert len(faults) == 1 and fault in faults[0]


@pytest.mark.parametrize(
  ("rule", "name", "source"),
  [
    (direction_faults, "core.x", "import jax\nfrom hwnas_jax.core import rng"),
    (direction_faults, "costs.x", "from hwnas_jax.nets.ops import make_op"),
    (direction_faults, "method.x", "from hwnas_jax.io import checkpoint"),
    (direction_faults, "data.__main__", "from hwnas_jax.commands import start"),
    (library_faults, "nets.x", "import flax.linen as nn"),
    (library_faults, "io.checkpoint", "from orbax.checkpoint import v1"),
    (library_faults, "report.x", "import matplotlib"),
    (library_faults, "data.x", "def f():\n  import tensorflow_datasets"),
    (core_faults, "core.x", "import math\nimport jax\nimport numpy as np"),
    (core_faults, "io.x", "import pathlib, optax\nopen('x')"),
    (documentation_faults, "x", ""),
    (documentation_faults, "x", DOCUMENTED + "def _f(a):\n  return a"),
    (
      documentation_faults,
      "x",
      DOCUMENTED
      + 'class A:\n  """A."""\n  @staticmethod\n  def f(a: int) -> int:\n'
      + '    """Adds."""\n    def inner(b): return b',
    ),
    (length_faults, "x", "def f():\n" + "  a = 1\n" * 59),
  ],
)
def test_a_rule_lets_pass(rule, name, source):
  assert rule(Module(name, source)) == []

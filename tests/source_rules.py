"""What the source has to keep, each rule a function from a module to faults."""

import ast
import pathlib
import sys
from typing import NamedTuple

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
  "absl": ("commands.", "data.feed."),  # grain needs its flags parsed
  "array_record": ("data.",),
  "flax": ("nets.", "costs.predict."),
  "grain": ("data.",),
  "jinja2": ("report.",),
  "matplotlib": ("report.",),
  "ml_collections": ("config.", "commands."),
  "ml_collections.config_flags": ("commands.",),
  "orbax": ("io.checkpoint.",),
  "tensorflow_datasets": ("data.",),
}
FREE = "absl.logging"  # everyone may log
LAZY = {"array_record", "grain", "tensorflow_datasets"}
CORE_MAY_IMPORT = {"jax", "numpy", "chex", PACKAGE}
CORE_MAY_NOT_IMPORT = {"os", "pathlib", "io", "shutil", "tempfile"}
MAX_FILE, MAX_FUNCTION = 400, 60
READ_FLAGS = {"define_flags", "main"}  # of a command

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
    for library, owners in OWNERS.items():
      if not within(name, library) or within(name, FREE):
        continue
      if not f"{module.name}.".startswith(owners):
        faults.append(f"{module.name} imports {name}, which is {owners[0]}'s")
    if name.split(".")[0] in LAZY & eager:
      faults.append(f"{module.name} imports {name} outside a function")
  return faults


def within(name, library):
  """Whether a dotted name is the library's, or of something in it."""
  return f"{name}.".startswith(f"{library}.")


def flag_faults(module):
  """Flags that an import defines, or a function of the API reads."""
  faults = [
    f"{module.name}:{node.lineno} defines a flag when it is imported"
    for node in ast.walk(top_level(module.tree))
    if isinstance(node, ast.Call)
    and ast.unparse(node.func).split(".")[-1].startswith("DEFINE_")
  ]
  for name, node in public(module.tree.body):
    if name in READ_FLAGS or not isinstance(node, FUNCTIONS):
      continue
    if any(
      getattr(child, "id", getattr(child, "attr", "")) == "FLAGS"
      for child in ast.walk(node)
    ):
      faults.append(f"{module.name}.{name} reads a flag")
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
  given = node.args
  args = [*given.posonlyargs, *given.args]
  if "." in name and not is_static(node):
    args = args[1:]  # self or cls
  args += [*given.kwonlyargs, given.vararg, given.kwarg]
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

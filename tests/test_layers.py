"""The source itself: imports point one way, names are documented, files short.

Each rule of `source_rules` is tried on a module that breaks it before it is
tried on the package.
"""

import pytest
from source_rules import (
  PACKAGE,
  RANK,
  ROOT,
  Module,
  core_faults,
  direction_faults,
  documentation_faults,
  flag_faults,
  length_faults,
  library_faults,
  read,
)

MODULES = read(ROOT / PACKAGE)
RULES = (
  direction_faults,
  library_faults,
  flag_faults,
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
    (library_faults, "runs.x", "import ml_collections", "config.'s"),
    (
      library_faults,
      "method.x",
      "def f():\n  from ml_collections import ConfigDict",
      "config.'s",
    ),
    (
      library_faults,
      "config.x",
      "from ml_collections import config_flags",
      "commands.'s",
    ),
    (library_faults, "runs.x", "from absl import flags", "commands.'s"),
    (library_faults, "config.x", "import absl.flags", "commands.'s"),
    (library_faults, "main", "from absl import app", "commands.'s"),
    (library_faults, "runs.x", "import jinja2", "report.'s"),
    (
      flag_faults,
      "commands.x",
      "flags.DEFINE_string('a', '', 'b')",
      "x:1 defines a flag when it is imported",
    ),
    (
      flag_faults,
      "commands.x",
      "def f():\n  return flags.FLAGS.a",
      "commands.x.f reads a flag",
    ),
    (
      flag_faults,
      "runs.x",
      "class A:\n  def f(self):\n    return FLAGS['a']",
      "runs.x.A.f reads a flag",
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
    (length_faults, "x", "\n" * 401, "x: 401 lines"),
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
    (library_faults, "io.x", "from absl import logging"),
    (library_faults, "data.x", "import absl.logging"),
    (library_faults, "config.x", "from ml_collections import ConfigDict"),
    (
      library_faults,
      "commands.x",
      "from absl import app, flags\nfrom ml_collections import config_flags",
    ),
    (library_faults, "report.x", "import jinja2"),
    (
      flag_faults,
      "commands.x",
      "def define_flags():\n  flags.DEFINE_string('a', '', 'b')\n"
      + "def main(argv):\n  values = flags.FLAGS\n"
      + "def _print(values):\n  print(flags.FLAGS.a)",
    ),
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
    (length_faults, "x", "\n" * 400),
  ],
)
def test_a_rule_lets_pass(rule, name, source):
  assert rule(Module(name, source)) == []

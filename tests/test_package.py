"""The package as it is packed, imported and documented."""

import configparser
import doctest
import importlib
import inspect
import re
import shutil
import subprocess
import sys

import jobs
import numpy as np
import pytest
import shared

import hwnas_jax as hw

ROOT = jobs.ROOT
PACKAGE = ROOT / "hwnas_jax"
PUBLIC = sorted(set(hw.__all__) - {"__version__"})
HEAVY = {
  *("absl", "flax", "jax", "jaxlib", "jinja2", "matplotlib", "ml_collections"),
  *("msgspec", "numpy", "optax", "orbax", "scipy", "tensorflow_datasets"),
}


def setup() -> configparser.ConfigParser:
  parser = configparser.ConfigParser()
  parser.read(ROOT / "setup.cfg")
  return parser


def test_what_an_error_says_to_install_is_a_package_of_an_extra():
  """hwnas_jax itself is installed from a checkout, not by its name."""
  extras = setup()["options.extras_require"].values()
  known = {re.split(r"[<>=\[]", line)[0] for e in extras for line in e.split()}
  for path in PACKAGE.rglob("*.py"):
    for words in re.findall(r"pip install ([\w '\[\]<.]+)", path.read_text()):
      first = words.split()[0].strip(".,'")
      assert first in known, f"{path}: {words}"


def test_every_folder_is_packed():
  folders = {path.parent for path in PACKAGE.rglob("*.py")}
  names = {".".join(f.relative_to(ROOT).parts) for f in folders}
  configs = {path.parent for path in (ROOT / "configs").rglob("*.py")}
  names |= {f"hwnas_jax.{'.'.join(f.relative_to(ROOT).parts)}" for f in configs}
  assert setup()["options"]["packages"].split() == sorted(names)


def test_every_file_is_packed():
  """What is no Python is listed as the package's data."""
  files = {
    path
    for path in PACKAGE.rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc")
  }
  patterns = setup()["options.package_data"]["hwnas_jax"].split(", ")
  packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
  assert files and files <= packed


def test_one_version():
  version = hw.__version__
  assert re.fullmatch(r"\d+\.\d+\.\d+", version)
  assert setup()["metadata"]["version"] == "attr: hwnas_jax.__version__"
  changes = (ROOT / "CHANGELOG.md").read_text()
  headings = re.findall(r"^## \[(.*?)\]", changes, re.M)
  released = [name for name in headings if name != "Unreleased"]
  # What is not released yet stands above every version.
  assert headings.index(version) == len(headings) - len(released)
  assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_script_is_there():
  (script,) = setup()["options.entry_points"]["console_scripts"].split("\n")[1:]
  name, _, target = script.partition(" = ")
  module, _, function = target.partition(":")
  assert name == "hwnas-jax"
  assert callable(getattr(importlib.import_module(module), function))


def test_an_import_loads_little():
  program = "import sys, hwnas_jax; print(*sys.modules)"
  done = subprocess.run(
    [sys.executable, "-c", program],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
    check=True,
  )
  modules = set(done.stdout.split())
  assert "hwnas_jax" in modules
  assert modules & HEAVY == set()
  assert {m for m in modules if m.startswith("hwnas_jax.")} == set()


def test_names_are_those_that_are_offered():
  assert dir(hw) == hw.__all__ == sorted(hw.__all__)
  assert set(hw._HOMES) == set(PUBLIC)
  with pytest.raises(AttributeError, match="no attribute 'nothing'"):
    hw.nothing  # noqa: B018


def test_types_are_those_that_are_imported():
  """What a type checker sees is what an import gives."""
  source = inspect.getsource(hw)
  typed = re.findall(r"^  from (\S+) import (.+)$", source, re.M)
  homes = set()
  for module, names in typed:
    for name in names.split(", "):
      attribute, _, alias = name.partition(" as ")
      homes.add((alias or attribute, (module, attribute)))
  assert homes == set(hw._HOMES.items())


@pytest.mark.parametrize("name", PUBLIC)
def test_a_name_has_an_example(name):
  assert ">>> " in (inspect.getdoc(getattr(hw, name)) or "")


def test_the_configs_are_found_wherever_one_is(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = hw.load_config("digits:smoke")
  assert config.search.num_steps == 40
  path = ROOT / "configs" / "digits.py"
  assert hw.load_config(f"{path}:smoke").to_dict() == config.to_dict()
  with pytest.raises(FileNotFoundError, match="methods/fbnet"):
    hw.load_config("fbnet")


def run_examples(value: object, names: dict[str, object]) -> int:
  """Runs the examples of a module or an object; their number."""
  flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
  runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
  name = getattr(value, "__name__", "example")
  module = inspect.getmodule(value)
  shown: list[str] = []
  for test in doctest.DocTestFinder().find(value, name, module):
    test.globs = {**vars(module), **names}
    runner.run(test, out=shown.append)
  assert not runner.failures, "".join(shown)
  return runner.tries


@pytest.fixture(scope="module")
def names(finished_run, tmp_path_factory):
  """What examples may use: they run in a folder that has runs/digits."""
  folder = tmp_path_factory.mktemp("examples")
  shutil.copytree(finished_run, folder, dirs_exist_ok=True)
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    config = hw.load_config("tiny.py")
    table = shared.table_of(folder).relative_to(folder)
    config.latency.table = str(table)
    run = hw.load("runs/digits")
    yield {
      "hw": hw,
      "np": np,
      "config": config,
      "table": hw.Table.load(table),
      "run": run,
      "network": run.networks[0],
      "pixels": np.zeros((2, *run.dataset.image), np.uint8),
    }


@pytest.fixture
def registries():
  """Forgets what an example registers."""
  from hwnas_jax import method
  from hwnas_jax.costs.measure.meter import METERS
  from hwnas_jax.nets.models import SPACES

  all_of_them = (
    *(method.SAMPLERS, method.CONTROLLERS, method.CONDITIONS, method.PENALTIES),
    *(METERS, SPACES),
  )
  before = [dict(registry) for registry in all_of_them]
  yield
  for registry, entries in zip(all_of_them, before, strict=True):
    registry.clear()
    registry.update(entries)


@pytest.mark.slow
@pytest.mark.parametrize(
  "path",
  [
    path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()
  ],
  ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_examples_run(path, names, registries):
  parts = path.relative_to(ROOT).with_suffix("").parts
  module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
  assert run_examples(module, names)


def test_a_wrong_example_is_found():
  def double(number):
    """Twice the number.

    >>> double(2)
    5
    """

  with pytest.raises(AssertionError, match="Expected:\n *5"):
    run_examples(double, {"double": lambda number: 2 * number})

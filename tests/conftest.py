"""Strict settings for every test: CPU, key reuse and rank promotion checked."""

import gc
import importlib.metadata
import os
import pathlib
import shutil

import pytest

os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR",
  str(pathlib.Path.home() / ".cache" / "hwnas_jax" / "xla-tests"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the tests' time is compilation; this takes half of it off.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# XLA stops at a flag it does not know, as a later one may.
if importlib.metadata.version("jaxlib").startswith(("0.9.", "0.10.")):
  # One part a program: threads for its parts take more time than they save.
  os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1",
  )

import jax
import shared
from absl import flags

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_num_cpu_devices", 8)  # for tests of several devices
# Tracing makes millions of small objects that stay: to look for garbage among
# them after each 700, Python's default, takes some 10 to 20 % of its time.
gc.set_threshold(50_000, 20, 50)


@pytest.fixture(autouse=True, scope="module")
def few_objects_to_look_through():
  """What a module has traced stays; no later collection looks at it again."""
  yield
  gc.freeze()


def pytest_configure() -> None:
  flags.FLAGS.mark_as_parsed()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Files with slow tests first: at the end one process would wait for them.

  Before them a long file that does not need the shared run: one process makes
  it, and the other would wait.
  """
  slow = {item.path for item in items if "slow" in item.keywords}
  items.sort(
    key=lambda item: (
      item.path.name != "test_combinations.py",
      item.path not in slow,
    )
  )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
  """The folder of `shared`, to be read only."""
  return shared.finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def example_run(finished_run, tmp_path, monkeypatch):
  """A copy of the folder of `shared`, in which the test runs."""
  shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
  monkeypatch.chdir(tmp_path)
  return tmp_path

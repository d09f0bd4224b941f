"""One copy of the finished run for all tests that ask it."""

import shutil

import pytest

import hwnas_jax as hw


@pytest.fixture(scope="session")
def run(finished_run, tmp_path_factory):
  """The finished run of `shared`, to be asked but not to be changed.

  Queries add answers to it. What a query has to load and to compile is shared.
  """
  folder = tmp_path_factory.mktemp("asked")
  shutil.copytree(finished_run, folder, dirs_exist_ok=True)
  return hw.load(folder / "runs/digits")

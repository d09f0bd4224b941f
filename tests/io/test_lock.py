"""A run folder has one process at a time."""

import os

import pytest

from hwnas_jax.io import lock


def test_a_second_one_is_told_who_is_there(tmp_path):
  folder = tmp_path / "a" / "run"
  with lock.alone(folder):
    with pytest.raises(ValueError) as error, lock.alone(folder):
      pass
    assert f"run is in use by process {os.getpid()} on" in str(error.value)
    with lock.alone(tmp_path / "b"):
      pass
  with lock.alone(folder):
    pass


def test_what_a_killed_process_left_keeps_nobody_out(tmp_path):
  (tmp_path / lock.NAME).write_text("process 1 on elsewhere")
  with pytest.raises(KeyError), lock.alone(tmp_path):
    assert (tmp_path / lock.NAME).read_text().startswith("process ")
    raise KeyError
  with lock.alone(tmp_path):
    assert str(os.getpid()) in (tmp_path / lock.NAME).read_text()

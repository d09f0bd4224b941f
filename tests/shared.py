"""One finished run for every test that only reads one, made once a session.

It is made as a user would make it, by two commands in processes of their own,
and reduced to one cell of four channels. Its folder has

  tiny.py             the config
  tables/DEVICE.json  its latency table, calibrated on three networks
  runs/digits         the run folder, of the config with that table
  printed.txt         what the main job printed

The processes that share the tests share it too, by a lock. Copy what a test
would change: the fixture `example_run` does.
"""

import fcntl
import os
import pathlib

import jobs

TINY = """
import hwnas_jax as hw

def get_config(variant=""):
  config = hw.load_config("digits:smoke")
  config.space.num_cells = 1
  return config
"""
NETWORKS, HELD_OUT = 3, 1


def finished_run(temporary: pathlib.Path) -> pathlib.Path:
  """The folder, made by the first that asks for it.

  temporary: of this process, as pytest's `getbasetemp` gives it.
  """
  if "PYTEST_XDIST_WORKER" in os.environ:
    temporary = temporary.parent  # of all processes of the session
  folder = temporary / "finished"
  with open(temporary / "finished.lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not (folder / "printed.txt").exists():
      make(folder)
  return folder


def make(folder: pathlib.Path) -> None:
  """Measures the table, then runs the main job; an unfinished one goes on."""
  folder.mkdir(exist_ok=True)
  (folder / "tiny.py").write_text(TINY)
  effort = [f"--networks={NETWORKS}", f"--held_out={HELD_OUT}", "--repeats=3"]
  command(folder, "profile", "--config=tiny.py", *effort)
  table = table_of(folder).relative_to(folder)
  printed = command(
    folder,
    "main",
    "--config=tiny.py",
    f"--config.latency.table={table}",
    "--workdir=runs/digits",
  )
  (folder / "printed.txt").write_text(printed)


def table_of(folder: pathlib.Path) -> pathlib.Path:
  """The path of the table in such a folder."""
  paths = (folder / "tables").glob("*.json")
  (path,) = (p for p in paths if not p.stem.endswith(".networks"))
  return path


def command(folder: pathlib.Path, name: str, *flags: str) -> str:
  """What a command prints, run in the folder."""
  done = jobs.run(name, *flags, cwd=folder)
  assert done.returncode == 0, done.stderr
  return done.stdout

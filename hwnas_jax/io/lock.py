"""One process at a time in a run folder."""

import contextlib
import os
import pathlib
import platform
from collections.abc import Iterator

try:
  import fcntl
except ModuleNotFoundError:  # Windows has none: there a folder is not locked.
  fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
  """Keeps other processes out of a folder, which is made where it is missing.

  The operating system lets go of the lock when the process ends, however it
  ends, so a file of a process that was killed keeps nobody out.

  Raises:
    ValueError: another process is there; the message has its id and host.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / NAME).open("a+") as file:
    if fcntl is not None:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        file.seek(0)
        raise ValueError(
          f"{folder} is in use by {file.read() or 'another process'}: wait for"
          " it, stop it, or use another --workdir"
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    yield
    file.truncate(0)

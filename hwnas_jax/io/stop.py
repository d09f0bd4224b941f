"""Stopping a run between two steps instead of in the middle of one."""

import signal
from typing import Any


class Stopped(Exception):
  """SIGTERM or Ctrl-C stopped the run; its state is on disk.

  signal: the number of the signal.
  """

  def __init__(self, message: str, signal: int = signal.SIGTERM) -> None:
    super().__init__(message)
    self.signal = signal


class StopSignal:
  """Context in which SIGTERM and SIGINT only set `requested`, to their number.

  The loop reads it after every dispatch, saves and raises `Stopped`. A second
  SIGINT (Ctrl-C) interrupts at once. For the main thread only: Python allows no
  other to handle signals.
  """

  def __init__(self) -> None:
    self.requested: int | None = None
    self._old: dict[int, Any] = {}

  def __enter__(self) -> "StopSignal":
    for number in (signal.SIGTERM, signal.SIGINT):
      self._old[number] = signal.signal(number, self._request)
    return self

  def __exit__(self, *unused_error: Any) -> None:
    for number, handler in self._old.items():
      signal.signal(number, handler)

  def _request(self, number: int, unused_frame: Any) -> None:
    self.requested = number
    if number == signal.SIGINT:
      signal.signal(number, self._old[number])

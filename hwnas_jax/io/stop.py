"""Stopping a run between two steps, and a command at any time."""

import _thread
import signal
import sys
import threading
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


class Interrupts:
  """Context of a command in which no Ctrl-C is lost.

  Python drops what a finaliser or a callback raises, and JAX has a callback of
  the garbage collector: there Ctrl-C would do nothing. It is raised again. A
  module that is interrupted while it is imported may raise another error: that
  becomes a KeyboardInterrupt. Where a shell ignores Ctrl-C, as for what it
  starts in the background, it stays ignored. For the main thread only.
  """

  def __init__(self) -> None:
    self._came = False
    self._old: Any = None
    self._hook: Any = None

  def __enter__(self) -> "Interrupts":
    self._old, self._hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if self._old is signal.default_int_handler:
      signal.signal(signal.SIGINT, self._interrupt)
    sys.unraisablehook = self._dropped
    return self

  def __exit__(self, kind: Any, error: Any, unused_trace: Any) -> None:
    signal.signal(signal.SIGINT, self._old)
    sys.unraisablehook = self._hook
    if self._came and isinstance(error, Exception) and kind is not Stopped:
      raise KeyboardInterrupt from error

  def _interrupt(self, unused_number: int, unused_frame: Any) -> None:
    self._came = True
    raise KeyboardInterrupt

  def _dropped(self, what: Any) -> None:
    if what.exc_type is not KeyboardInterrupt:
      self._hook(what)
      return
    # A little later: what is raised here is dropped too.
    threading.Timer(0.01, _thread.interrupt_main).start()

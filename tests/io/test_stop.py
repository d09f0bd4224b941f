import os
import signal
import time

import pytest

from hwnas_jax.io.stop import Interrupts, Stopped, StopSignal


@pytest.fixture(autouse=True)
def _as_in_a_terminal():
  """Where the tests run in the background, Ctrl-C is ignored from the start."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_only_raises_the_flag_and_handlers_come_back(number):
  before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
  with StopSignal() as stop:
    assert not stop.requested
    os.kill(os.getpid(), number)
    assert stop.requested
  after = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
  assert after == before


def test_second_sigterm_is_as_harmless_as_the_first():
  with StopSignal() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested


def test_second_interrupt_interrupts():
  with pytest.raises(KeyboardInterrupt), StopSignal():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Interrupted:
  """Gets Ctrl-C in its finaliser, whose exceptions Python drops."""

  def __del__(self):
    signal.raise_signal(signal.SIGINT)


def test_a_dropped_interrupt_is_raised_again():
  give_up_s = time.monotonic() + 30
  with pytest.raises(KeyboardInterrupt), Interrupts():
    Interrupted()
    while time.monotonic() < give_up_s:
      time.sleep(0.001)
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_error_after_an_interrupt_is_the_interrupt():
  def broken():
    try:
      signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
      raise ImportError("initialization failed") from None

  with pytest.raises(KeyboardInterrupt) as caught, Interrupts():
    broken()
  assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize("error", [ValueError, Stopped])
def test_other_errors_stay_what_they_are(error):
  with pytest.raises(error), Interrupts():
    raise error("as it was")


def test_a_stop_after_an_interrupt_is_a_stop():
  with pytest.raises(Stopped), Interrupts():
    try:
      signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
      raise Stopped("saved") from None


def test_what_is_dropped_is_still_reported(monkeypatch):
  reported = []
  monkeypatch.setattr("sys.unraisablehook", reported.append)

  class Broken:
    def __del__(self):
      raise ValueError

  with Interrupts():
    Broken()
  assert [what.exc_type for what in reported] == [ValueError]


def test_an_ignored_interrupt_stays_ignored():
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  with Interrupts():
    signal.raise_signal(signal.SIGINT)

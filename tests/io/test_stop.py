import os
import signal

import pytest

from hwnas_jax.io.stop import StopSignal


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

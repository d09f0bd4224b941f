import io

import jax.numpy as jnp
import pytest

from hwnas_jax.io import progress


class _Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  """Seconds as a list of one number that the test moves on."""
  now_s = [100.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
  return now_s


def _run(stream, clock, steps, seconds_a_step, first=1, alone=True):
  with progress.Progress(100, "search", stream, alone=alone) as bar:
    for done in range(first, first + steps):
      bar.update(done, loss=jnp.float32(1 / 3), latency_ms=12.34567)
      clock[0] += seconds_a_step


def test_log_gets_a_line_every_ten_seconds_and_the_last(clock):
  stream = io.StringIO()
  _run(stream, clock, steps=25, seconds_a_step=1.0)
  lines = stream.getvalue().splitlines()
  assert [line.split("/100")[0].split()[-1] for line in lines] == [
    *("1", "11", "21", "25")
  ]
  assert all(line.startswith("search:") for line in lines)
  assert all("loss=0.3333, latency_ms=12.35" in line for line in lines)
  assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_rate_and_time_left_count_from_the_first_update(clock):
  stream = io.StringIO()
  _run(stream, clock, steps=11, seconds_a_step=2.0, first=80)
  last = stream.getvalue().splitlines()[1]
  assert "85/100" in last and "2.00s/step" in last and "00:10<00:30" in last


def test_terminal_redraws_one_line_five_times_a_second(clock):
  stream = _Terminal()
  _run(stream, clock, steps=40, seconds_a_step=0.0625)
  drawn = stream.getvalue().split("\r")[1:]
  assert len(drawn) == 11
  assert stream.getvalue().count("\n") == 1
  assert "40/100" in drawn[-1] and drawn[-1].endswith("\x1b[K\n")


def test_a_terminal_gets_lines_of_several_at_once(clock):
  stream = _Terminal()
  _run(stream, clock, steps=3, seconds_a_step=10, alone=False)
  assert len(stream.getvalue().splitlines()) == 3
  assert "\r" not in stream.getvalue()


def test_text_fields_are_shown_as_they_are(clock):
  stream = io.StringIO()
  with progress.Progress(2, "train", stream) as bar:
    bar.update(1, phase="warm-up")
  assert "phase=warm-up" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), _Terminal()])
def test_no_update_shows_nothing(stream):
  with progress.Progress(2, "train", stream):
    pass
  assert stream.getvalue() == ""


def test_error_shows_the_last_state(clock):
  stream = io.StringIO()
  with pytest.raises(RuntimeError), progress.Progress(9, "x", stream) as bar:
    bar.update(1)
    bar.update(2)
    raise RuntimeError
  assert "2/9" in stream.getvalue().splitlines()[-1]

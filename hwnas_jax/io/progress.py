"""How far a run is: a bar on a terminal, a line now and then in a log."""

import shutil
import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

REDRAW_S = 0.2
LINE_S = 10.0


class Progress:
  """Context that shows steps done, rate, time left and a few fields.

  A terminal's line is redrawn at most every `REDRAW_S`; elsewhere a plain line
  is written at most every `LINE_S`. The last state is always shown. Rate and
  time left count from the first update, so neither the first compilation nor
  the steps before a resume distort them.
  """

  def __init__(
    self, total: int, label: str, stream: TextIO | None = None
  ) -> None:
    """Shows nothing before the first update.

    Args:
      total: number of steps of the whole run.
      label: what is in progress.
      stream: where to write; None is standard error.
    """
    self._total = total
    self._label = label
    self._stream = stream or sys.stderr
    self._terminal = self._stream.isatty()
    self._first: tuple[int, float] | None = None
    self._shown_s = -float("inf")
    self._pending: tuple[int, dict[str, Any]] | None = None

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *unused_error: Any) -> None:
    if self._pending:
      self._show(*self._pending)
    if self._terminal and self._first:
      self._stream.write("\n")

  def update(self, done: int, **fields: float | str) -> None:
    """Notes the state of the run and shows it if the time has come.

    Args:
      done: steps done in all, those before a resume included.
      **fields: what to show beside it, such as `loss=1.2, latency_ms=3.4`.
        JAX scalars are read, which waits for them, only when shown.
    """
    now_s = time.monotonic()
    self._first = self._first or (done, now_s)
    self._pending = done, fields
    interval_s = REDRAW_S if self._terminal else LINE_S
    if now_s - self._shown_s >= interval_s:
      self._show(done, fields)

  def _show(self, done: int, fields: dict[str, Any]) -> None:
    assert self._first is not None
    initial, start_s = self._first
    self._pending = None
    self._shown_s = time.monotonic()
    line = tqdm.format_meter(
      done,
      self._total,
      self._shown_s - start_s,
      ncols=shutil.get_terminal_size().columns if self._terminal else 0,
      prefix=self._label,
      unit="step",
      initial=initial,
      postfix=", ".join(f"{k}={_text(v)}" for k, v in fields.items()),
    )
    # Escape code: clear what a longer line left to the right.
    self._stream.write(f"\r{line}\x1b[K" if self._terminal else line + "\n")
    self._stream.flush()


def _text(value: Any) -> str:
  return value if isinstance(value, str) else f"{float(value):.4g}"

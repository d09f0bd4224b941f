"""Shows the progress of a run: a bar on a terminal, or lines in a log."""

import shutil
import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

REDRAW_S = 0.2
LINE_S = 10.0


class Progress:
  """Context that shows the steps done, the rate, the time left and some fields.

  A terminal's line is redrawn at most every `REDRAW_S` seconds. Elsewhere a
  line is written at most every `LINE_S` seconds. The last update is always
  shown. Rate and time left are counted from the first update, so that neither
  the first compilation nor the steps before a resume distort them.
  """

  def __init__(
    self,
    total: int,
    label: str,
    stream: TextIO | None = None,
    *,
    alone: bool = True,
  ) -> None:
    """Shows nothing before the first update.

    Args:
      total: number of steps of the whole run.
      label: what is in progress; begins the line.
      stream: where to write; None for standard error.
      alone: False where others write beside it, which takes lines.
    """
    self._total = total
    self._label = label
    self._stream = stream or sys.stderr
    self._terminal = alone and self._stream.isatty()
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
    """Takes the state of the run, and shows it unless it is too soon.

    Args:
      done: steps done in all, including those before a resume.
      **fields: shown after the time left, such as `loss=1.2, latency_ms=3.4`.
        JAX scalars are read, which waits for the device, only when shown.
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

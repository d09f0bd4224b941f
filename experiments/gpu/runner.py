"""Pieces of a stage: guarded, limited in time, recorded, resumed."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Record = dict[str, Any]
Save = Callable[[Record], None]  # stores what a piece has so far


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of a stage: `run(save)` returns what goes into its record.

  expected_s: it is not started where less time is left.
  limit_s: it is interrupted after so long; 0 is three times expected_s.
  """

  name: str
  expected_s: float
  run: Callable[[Save], Record]
  settings: Record = dataclasses.field(default_factory=dict)
  limit_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Context:
  """What all pieces share.

  head: what every record has: seed, commit, device kind.
  about: what every stage's file has once: versions, command line.
  deadline_s: of `time.monotonic`.
  """

  out: pathlib.Path
  head: Record
  about: Record
  deadline_s: float

  def left_s(self) -> float:
    """Seconds until the deadline."""
    return self.deadline_s - time.monotonic()


def say(text: str) -> None:
  """Prints at once."""
  print(text, flush=True)


def read(path: pathlib.Path) -> Record:
  """A stage's file, or an empty one."""
  return json.loads(path.read_text()) if path.exists() else {"pieces": {}}


def write(path: pathlib.Path, document: Record) -> None:
  """The old file or the new one, never half."""
  temporary = path.with_suffix(".tmp")
  temporary.write_text(json.dumps(document, indent=1, default=float) + "\n")
  os.replace(temporary, path)


def _expired(*_: Any) -> None:
  raise TimeoutError("the piece ran over its limit")


def run_stage(name: str, pieces: Sequence[Piece], context: Context) -> None:
  """Runs what the stage's file lacks; an error ends a piece, not the stage."""
  path = context.out / f"{name}.json"
  document = read(path)
  document.setdefault("stage", name)
  document.setdefault("calls", []).append(context.about)
  for piece in pieces:
    done = document["pieces"].get(piece.name, {})
    if done.get("state") == "done":
      say(f"[{name}] {piece.name}: is there")
      continue
    if context.left_s() < piece.expected_s:
      say(
        f"[{name}] {piece.name}: not started, expected {piece.expected_s:.0f}"
        f" s, left {context.left_s():.0f} s"
      )
      continue
    _run_piece(name, piece, context, document, path)


def _run_piece(
  stage: str,
  piece: Piece,
  context: Context,
  document: Record,
  path: pathlib.Path,
) -> None:
  limit = piece.limit_s or 3 * piece.expected_s + 5
  limit = min(limit, max(context.left_s(), 1.0))
  say(
    f"[{stage}] {piece.name}: starts; expected {piece.expected_s:.0f} s, limit"
    f" {limit:.0f} s, left {context.left_s():.0f} s"
  )
  started, clock = time.time(), time.monotonic()
  record: Record = {
    **context.head,
    "settings": piece.settings,
    "started_unix_s": round(started, 1),
    "state": "running",
    "result": {},
  }
  document["pieces"][piece.name] = record

  def save(result: Record) -> None:
    record["result"] = result
    record["wall_s"] = round(time.monotonic() - clock, 2)
    write(path, document)

  signal.signal(signal.SIGALRM, _expired)
  signal.setitimer(signal.ITIMER_REAL, limit)
  try:
    save({})
    result = piece.run(save)
    signal.setitimer(signal.ITIMER_REAL, 0)
    record["state"] = "done"
    save(result)
  except Exception:
    signal.setitimer(signal.ITIMER_REAL, 0)
    lines = traceback.format_exc().strip().splitlines()
    record["state"], record["error"] = "error", lines[-12:]
    save(record["result"])
    say(f"[{stage}] {piece.name}: ERROR {' | '.join(lines[-2:])[:600]}")
  say(f"[{stage}] {piece.name}: {record['state']}, {record['wall_s']} s")


def each(
  function: Callable[[Any], Record], things: Iterable[Any], workers: int
) -> Iterator[tuple[Any, Record]]:
  """(thing, guarded record) as they come; leaves no one waiting when left."""
  pool = concurrent.futures.ThreadPoolExecutor(workers)
  jobs = {pool.submit(guarded, function, thing): thing for thing in things}
  try:
    for job in concurrent.futures.as_completed(jobs):
      yield jobs[job], job.result()
  finally:
    pool.shutdown(wait=False, cancel_futures=True)


def guarded(function: Callable[..., Record], *args: Any) -> Record:
  """The function's record, or that of its error."""
  start = time.monotonic()
  try:
    record = function(*args)
  except TimeoutError:
    raise
  except Exception:
    record = {"error": traceback.format_exc().strip().splitlines()[-8:]}
  return record | {"wall_s": round(time.monotonic() - start, 2)}

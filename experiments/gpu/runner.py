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
States = dict[str, str]  # of pieces: "done", "error" or NOT_STARTED

MOST_S = 300.0  # of a piece, so that a stop loses little
NOT_STARTED = "not started"


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of a stage: `run(save)` returns what goes into its record.

  A key "error" anywhere in the record makes the piece an error.

  expected_s: it is not started where less time is left, and interrupted after
    three times as long, or after MOST_S.
  """

  name: str
  expected_s: float
  run: Callable[[Save], Record]
  settings: Record = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    if self.expected_s > MOST_S:
      raise ValueError(
        f"{self.name}: a piece takes at most {MOST_S:.0f} s, not"
        f" {self.expected_s:.0f}: split it"
      )


@dataclasses.dataclass(frozen=True)
class Context:
  """What all pieces share.

  head: what every record has: seed, commit, device kind.
  about: what every stage's file has once: versions, command line.
  deadline_s: of `time.monotonic`.
  smoke: only the deadline interrupts a piece: what is expected is of a GPU.
  """

  out: pathlib.Path
  head: Record
  about: Record
  deadline_s: float
  smoke: bool = False

  def left_s(self) -> float:
    """Seconds until the deadline."""
    return self.deadline_s - time.monotonic()

  def limit_s(self, piece: Piece) -> float:
    """Seconds after which a piece is interrupted."""
    left = max(self.left_s(), 1.0)
    return left if self.smoke else min(3 * piece.expected_s + 5, MOST_S, left)


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


def run_stage(name: str, pieces: Sequence[Piece], context: Context) -> States:
  """Runs what the stage's file lacks; an error ends a piece, not the stage."""
  states: States = {}
  path = context.out / f"{name}.json"
  document = read(path)
  document.setdefault("stage", name)
  document.setdefault("calls", []).append(context.about)
  for piece in pieces:
    done = document["pieces"].get(piece.name, {})
    if done.get("state") == "done":
      say(f"[{name}] {piece.name}: is there")
      states[piece.name] = "done"
      continue
    if context.left_s() < piece.expected_s:
      say(
        f"[{name}] {piece.name}: not started, expected {piece.expected_s:.0f}"
        f" s, left {context.left_s():.0f} s"
      )
      states[piece.name] = NOT_STARTED
      continue
    _run_piece(name, piece, context, document, path)
    states[piece.name] = document["pieces"][piece.name]["state"]
  return states


def exit_status(states: States, smoke: bool) -> int:
  """Says what is not done; 1 if a piece failed, in a smoke if it did not start.

  In a real run a piece for which no time was left is no error.
  """
  missing = {piece: s for piece, s in states.items() if s != "done"}
  for piece, state in missing.items():
    say(f"{state}: {piece}")
  say(f"{len(states) - len(missing)} of {len(states)} pieces are done")
  return int(any(smoke or s != NOT_STARTED for s in missing.values()))


def faults(record: Any, place: str = "") -> list[str]:
  """The places and last lines of all errors in a record."""
  if not isinstance(record, dict | list):
    return []
  pairs = record.items() if isinstance(record, dict) else enumerate(record)
  found = []
  for name, value in pairs:
    if name == "error":
      last = value[-1] if isinstance(value, list) else value
      found.append(f"{place or 'piece'}: {last}")
    else:
      found += faults(value, f"{place}/{name}" if place else str(name))
  return found


def _run_piece(
  stage: str,
  piece: Piece,
  context: Context,
  document: Record,
  path: pathlib.Path,
) -> None:
  limit = context.limit_s(piece)
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
    found = faults(result)
    record["state"] = "error" if found else "done"
    if found:
      record["error"] = found
      say(f"[{stage}] {piece.name}: ERROR {' | '.join(found)[:600]}")
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
  """The function's record, or that of its error; the piece goes on."""
  start = time.monotonic()
  try:
    record = function(*args)
  except TimeoutError:
    raise
  except Exception:
    record = {"error": traceback.format_exc().strip().splitlines()[-8:]}
  return record | {"wall_s": round(time.monotonic() - start, 2)}

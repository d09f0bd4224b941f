"""Gives every parser mutated inputs, and looks at what it raises.

  python -m experiments.faults.fuzz --count=100000

From the repository root. An input is a valid one with some bytes changed, cut,
repeated or added; or, where a file has a digest, with some of its JSON values
changed and the digest made anew, so that what is behind it is reached. A parser
may return or raise a ValueError or an OSError, which is what a command turns
into one line. Any other exception is a fault, and so is an input that takes
longer than LIMIT_S.

Writes fuzz.json, a row for each parser: inputs, faults, the longest time, and
the peak memory of its process. Input `index` of a parser depends on nothing
else, so what is there is not done again; a fault is repeated by

  python -m experiments.faults.fuzz --only=PARSER --first=INDEX --count=1
"""

import argparse
import contextlib
import json
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from experiments.faults import parsers
from experiments.faults.parsers import Parser
from hwnas_jax.io import readers, writers

HERE = pathlib.Path(__file__).parent
LIMIT_S = 5.0
STEP = 20_000  # inputs between two writes of fuzz.json


class Outcome(NamedTuple):
  """What some inputs did.

  faults: (index, exception). accepted: inputs that were parsed.
  """

  inputs: int
  accepted: int
  longest_s: float
  faults: list[tuple[int, str]]


class TooLong(BaseException):
  """An input took longer than LIMIT_S."""


def run(name: str, parser: Parser, first: int, count: int) -> Outcome:
  """Gives a parser the inputs first, ..., first + count - 1."""
  faults, longest_s, accepted = [], 0.0, 0
  with tempfile.TemporaryDirectory() as scratch, _alarm() as start:
    for index in range(first, first + count):
      rng = np.random.default_rng([index, *name.encode()])
      data = parser.mutate(rng, parser.seeds[rng.integers(len(parser.seeds))])
      began = time.perf_counter()
      try:
        start(LIMIT_S)
        parser.parse(data, pathlib.Path(scratch))
        accepted += 1
      except (ValueError, OSError):
        pass
      except (Exception, TooLong) as error:
        faults.append((index, f"{type(error).__name__}: {error}"[:200]))
      finally:
        start(0)
      longest_s = max(longest_s, time.perf_counter() - began)
  return Outcome(count, accepted, longest_s, faults)


@contextlib.contextmanager
def _alarm() -> Iterator[Callable[[float], None]]:
  """A function that begins to count down, or with 0 ends it."""

  def late(number: int, frame: Any) -> None:
    raise TooLong(f"more than {LIMIT_S} s")

  before = signal.signal(signal.SIGALRM, late)
  try:
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds) and None
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def main() -> None:
  """Gives each parser its inputs, in a process of its own."""
  parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parse.add_argument("--count", type=int, default=100_000)
  parse.add_argument("--first", type=int, default=0)
  parse.add_argument("--only", help="one parser, in this process; prints it")
  parse.add_argument("--json", type=pathlib.Path, default=HERE / "fuzz.json")
  args = parse.parse_args()
  known = parsers.parsers()
  if args.only:
    outcome = run(args.only, known[args.only], args.first, args.count)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps(outcome._asdict() | {"peak_mb": round(peak_mb)}))
    return
  results = readers.read_json(args.json) if args.json.exists() else {}
  for name in known:
    while (done := results.get(name, {}).get("inputs", 0)) < args.count:
      count = min(STEP, args.count - done)
      results[name] = _added(results.get(name), _in_process(name, done, count))
      writers.write_json(args.json, results)
    print(name, results[name], flush=True)


def _in_process(name: str, first: int, count: int) -> dict[str, Any]:
  flags = [f"--only={name}", f"--first={first}", f"--count={count}"]
  done = subprocess.run(
    [sys.executable, "-m", "experiments.faults.fuzz", *flags],
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def _added(
  before: dict[str, Any] | None, now: dict[str, Any]
) -> dict[str, Any]:
  if before is None:
    return now
  return {
    "inputs": before["inputs"] + now["inputs"],
    "accepted": before["accepted"] + now["accepted"],
    "faults": before["faults"] + now["faults"],
    "longest_s": max(before["longest_s"], now["longest_s"]),
    "peak_mb": max(before["peak_mb"], now["peak_mb"]),
  }


if __name__ == "__main__":
  main()

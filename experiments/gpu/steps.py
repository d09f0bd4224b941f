"""Stages c_small and c_big: search steps against PyTorch, in turns.

A block is `steps` steps between two synchronisations. Ours runs them in one
dispatch, gathering and cropping its images from the device; PyTorch gets one
batch that lies on the device, and waits for nothing inside a block. TF32 is
allowed on both sides. The bfloat16 ways: ours is `precision=bfloat16`,
PyTorch's is `torch.autocast`; parameters are float32 in both.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks import supernet as benchmark
from experiments.gpu import twins
from experiments.gpu.programs import (
  DTYPES,
  TWINS,
  Form,
  Programs,
  Way,
  forms,
  make_config,
)
from experiments.gpu.runner import Piece, Record, Save, guarded, say
from hwnas_jax.io import records


def take_turns(
  ways: dict[str, Way],
  rounds: int,
  steps: int,
  save: Callable[[Record], None],
) -> Record:
  """Rounds of a block of each: seconds a step, and over ours of the round.

  Saved after each round: PyTorch's blocks may take most of a piece's limit.
  """
  for way in ways.values():
    way.block()  # not counted
  seconds: dict[str, list[float]] = {name: [] for name in ways}
  for _ in range(rounds):
    for name, way in ways.items():
      start = time.perf_counter()
      way.block()
      seconds[name].append((time.perf_counter() - start) / steps)
    summaries = _summaries(seconds)
    save(summaries)
  first = next(iter(ways))
  for name, row in summaries.items():
    say(
      f"   {name:28}{1e3 * row['median_s']:9.3f} ms a step (IQR"
      f" {1e3 * row['iqr_s']:.3f}), {row['ratio_to_first']:.2f} of {first}"
    )
  return summaries


def _summaries(seconds: dict[str, list[float]]) -> Record:
  """Median, interquartile range and ratio of each way."""
  base, summaries = np.asarray(next(iter(seconds.values()))), {}
  for name, values in seconds.items():
    low, median, high = np.percentile(values, (25, 50, 75))
    summaries[name] = {
      "median_s": float(median),
      "iqr_s": float(high - low),
      "ratio_to_first": float(np.median(np.asarray(values) / base)),
      "step_s": values,
    }
  return summaries


def _device_memory() -> Record:
  stats = jax.devices()[0].memory_stats() or {}
  names = ("bytes_in_use", "peak_bytes_in_use")
  return {f"jax_{n}": stats[n] for n in names if n in stats}


class Turns(NamedTuple):
  """A comparison of a kind of step: a piece.

  dtypes: of ours; PyTorch's ways are those of the same types.
  compiled: against PyTorch by torch.compile alone.
  """

  kind: str
  expected_s: float
  dtypes: tuple[str, ...] = DTYPES
  compiled: bool = False

  @property
  def name(self) -> str:
    """Of the piece."""
    dtype = "" if self.dtypes == DTYPES else f"_{self.dtypes[0]}"
    return f"{self.kind}{'_compiled' if self.compiled else ''}{dtype}"


FLOAT32, BFLOAT16 = (DTYPES[:1], DTYPES[1:])
BIG = (  # in the order in which they run; what compiles longest comes last
  Turns("darts_bilevel_first_order", 240, FLOAT32),
  Turns("darts_bilevel_first_order", 200, BFLOAT16),
  Turns("darts_one_level", 200, FLOAT32),
  Turns("darts_one_level", 150, BFLOAT16),
  Turns("nasbench201", 30),
  Turns("fbnet_path", 90),
  Turns("darts_bilevel_first_order", 200, BFLOAT16, compiled=True),
  Turns("darts_one_level", 200, BFLOAT16, compiled=True),
  Turns("fbnet_mixture", 60),
)
# What compiles for minutes has a piece for that. An H200 took 252 and 268 s
# for the two bilevel programs at once.
COMPILE_S = {
  "darts_bilevel_first_order": 280,
  "darts_one_level": 150,
  "fbnet_mixture": 200,
}
AHEAD = ("darts_bilevel_first_order", "darts_one_level", "nasbench201")


def wants(kind: str, done: Record) -> bool:
  """Whether a piece of c_big that compares this kind is not done."""
  names = [turns.name for turns in BIG if turns.kind == kind]
  return any(done.get(name, {}).get("state") != "done" for name in names)


def _rounds(kind: str, args: Any) -> int:
  """Fewer where PyTorch's step takes a fifth of a second."""
  return min(args.rounds, 5) if kind in benchmark.BIG else args.rounds


def compare(save: Save, turns: Turns, programs: Programs, args: Any) -> Record:
  """Ours and PyTorch's ways, in turns."""
  kind = turns.kind
  config, record = make_config(kind, args), {"memory_before": _device_memory()}
  ways, about = {}, {}
  record["prepared"] = about

  def add(name: str, make: Callable[..., Way], *arguments: Any) -> None:
    def prepare() -> Record:
      ways[name] = make(*arguments)
      return ways[name].about

    about[name] = guarded(prepare)
    say(f"   prepared {name}: {str(about[name])[:300]}")
    save(record)

  for form in forms(args, turns.dtypes):
    add(form.name, programs.get, kind, form)
  record["memory_after_ours"] = _device_memory()
  if kind not in TWINS:
    record["torch"] = "no twin of this supernet exists"
  elif not twins.HAS_TORCH:
    record["torch"] = "not installed"
  else:
    for name, flags in _torch_ways(turns, args).items():
      add(name, twins.torch_way, kind, config, *flags)
  programs.wait()
  if ways:
    record["turns"] = take_turns(
      ways,
      _rounds(kind, args),
      args.block,
      lambda rows: save({**record, "turns": rows}),
    )
  record["memory_after"] = _device_memory()
  return record


def _torch_ways(turns: Turns, args: Any) -> dict[str, tuple[bool, bool, str]]:
  """{name: (channels_last, autocast, backend of torch.compile)}."""
  if turns.compiled:
    backend = "eager" if args.smoke else "inductor"
    return {"torch channels_last amp compile": (True, True, backend)}
  ways = {
    "torch eager": (False, False, ""),
    "torch channels_last": (True, False, ""),
    "torch channels_last amp": (True, True, ""),
  }
  return {n: w for n, w in ways.items() if DTYPES[w[1]] in turns.dtypes}


def _settings(turns: Turns, args: Any) -> Record:
  config = make_config(turns.kind, args)
  return {
    "batch": config.search.batch_size,
    "steps_a_block": args.block,
    "rounds": _rounds(turns.kind, args),
    "space": config.space,
    "sampler": records.to_json(config.sampler),
    "bilevel": config.search.bilevel,
    "tf32": "allowed for both",
    "cudnn_benchmark": "on for PyTorch",
  }


def _piece(turns: Turns, programs: Programs, args: Any) -> Piece:
  run = functools.partial(compare, turns=turns, programs=programs, args=args)
  return Piece(turns.name, turns.expected_s, run, _settings(turns, args))


def _compile_piece(
  turns: Turns, form: Form, programs: Programs, args: Any
) -> Piece:
  """Compiles our program; interrupted, it goes on beside the next piece."""

  def run(save: Save) -> Record:
    del save
    return programs.compiled(turns.kind, form).about

  expected = COMPILE_S.get(turns.kind, 90)
  name = f"{turns.kind} compile {form.name}"
  return Piece(name, expected, run, _settings(turns, args))


def small_pieces(programs: Programs, args: Any) -> list[Piece]:
  """The simplex experiment's step."""
  return [_piece(Turns("simplex_one_level", 45), programs, args)]


def compiled_pieces(programs: Programs, args: Any) -> list[Piece]:
  """The same step beside PyTorch's compiled one."""
  turns = Turns("simplex_one_level", 45, compiled=True)
  return [_piece(turns, programs, args)]


def big_pieces(programs: Programs, args: Any) -> list[Piece]:
  """The large supernets: programs that compile long, and comparisons."""
  pieces: dict[str, Piece] = {}
  for turns in BIG:
    if args.smoke and turns.kind != "fbnet_path":
      continue
    made = [_piece(turns, programs, args)]
    if args.smoke or turns.kind in COMPILE_S:
      made = [
        _compile_piece(turns, form, programs, args)
        for form in forms(args, turns.dtypes)
      ] + made
    for piece in made:
      pieces.setdefault(piece.name, piece)
  return list(pieces.values())

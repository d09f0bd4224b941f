"""Stages c_small and c_big: search steps against PyTorch, in turns.

A block is `steps` steps between two synchronisations. Ours runs them in one
dispatch, gathering and cropping its images from the device; PyTorch gets one
batch that lies on the device, and waits for nothing inside a block. TF32 is
allowed on both sides. The bfloat16 ways: ours is `precision=bfloat16`,
PyTorch's is `torch.autocast`; parameters are float32 in both.
"""

import functools
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import supernet as benchmark
from experiments.gpu.programs import (
  TWINS,
  Programs,
  Way,
  forms,
  make_config,
)
from experiments.gpu.runner import Piece, Record, Save, guarded, say
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.io import records

HAS_TORCH = importlib.util.find_spec("torch") is not None


def torch_way(
  kind: str, config: Config, channels_last: bool, amp: bool, compiled: str
) -> Way:
  """The twin of experiments/benchmarks on the GPU; compiled: a backend."""
  import torch

  from experiments.benchmarks import torch_supernet

  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  torch.manual_seed(0)
  device = "cuda" if torch.cuda.is_available() else "cpu"
  part, net = config.space, problems.make_nets(config).supernet
  size, _, depth = net.image
  layout = torch.channels_last if channels_last else torch.contiguous_format
  with torch.device(device):
    model: Any = torch_supernet.Supernet(
      part["num_cells"],
      part["channels"],
      part["num_nodes"],
      torch_supernet.OPS[len(net.ops)],
      depth,
    ).to(memory_format=layout)
    if amp:
      model = _autocast(model, device)
    if compiled:
      model = torch.compile(model, backend=compiled)
    step = torch_supernet.make_step(kind, model)
    batches = [
      torch_supernet.random_batch(config.search.batch_size, depth, size, layout)
      for _ in range(2)
    ]
  steps = config.search.steps_per_dispatch

  def block() -> object:
    for _ in range(steps):
      loss = step(*batches)
    return loss.item()  # waits

  start = time.perf_counter()
  block()
  about = {"first_block_s": time.perf_counter() - start}
  if device == "cuda":
    torch.cuda.reset_peak_memory_stats()
    block()
    about["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
  return Way(block, about)


def _autocast(model: Any, device: str) -> Any:
  import torch

  class Autocast(torch.nn.Module):  # type: ignore[misc]
    """bfloat16 inside, float32 logits."""

    def __init__(self) -> None:
      super().__init__()
      self.net = model
      for name in ("cells", "mix_shape", "num_nodes", "num_reductions"):
        object.__setattr__(self, name, getattr(model, name))

    def forward(self, images: Any, normal: Any, reduce: Any) -> Any:
      with torch.autocast(device, torch.bfloat16):
        # Or float32 weights would make every sum float32.
        mixes = normal.to(torch.bfloat16), reduce.to(torch.bfloat16)
        return self.net(images, *mixes).float()

  return Autocast()


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


def _rounds(kind: str, args: Any) -> int:
  """Fewer where PyTorch's step takes a fifth of a second."""
  return min(args.rounds, 5) if kind in benchmark.BIG else args.rounds


def compare(
  save: Save, kind: str, compiled: bool, programs: Programs, args: Any
) -> Record:
  """Ours and PyTorch's ways of one kind; compiled: by torch.compile alone."""
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

  for form in forms(args):
    add(form.name, programs.get, kind, form)
  record["memory_after_ours"] = _device_memory()
  if kind not in TWINS:
    record["torch"] = "no twin of this supernet exists"
  elif not HAS_TORCH:
    record["torch"] = "not installed"
  else:
    for name, flags in _torch_ways(compiled, args).items():
      add(name, torch_way, kind, config, *flags)
  programs.wait()
  if ways:
    record["turns"] = take_turns(
      ways,
      _rounds(kind, args),
      args.block,
      lambda turns: save({**record, "turns": turns}),
    )
  record["memory_after"] = _device_memory()
  return record


def _torch_ways(compiled: bool, args: Any) -> dict[str, tuple[bool, bool, str]]:
  """{name: (channels_last, autocast, backend of torch.compile)}."""
  if compiled:
    backend = "eager" if args.smoke else "inductor"
    return {"torch channels_last amp compile": (True, True, backend)}
  return {
    "torch eager": (False, False, ""),
    "torch channels_last": (True, False, ""),
    "torch channels_last amp": (True, True, ""),
  }


def _piece(
  kind: str, compiled: bool, expected_s: float, programs: Programs, args: Any
) -> Piece:
  run = functools.partial(
    compare, kind=kind, compiled=compiled, programs=programs, args=args
  )
  config = make_config(kind, args)
  settings = {
    "batch": config.search.batch_size,
    "steps_a_block": args.block,
    "rounds": _rounds(kind, args),
    "space": config.space,
    "sampler": records.to_json(config.sampler),
    "bilevel": config.search.bilevel,
    "tf32": "allowed for both",
    "cudnn_benchmark": "on for PyTorch",
  }
  name = f"{kind}{'_compiled' if compiled else ''}"
  return Piece(name, expected_s, run, settings)


def small_pieces(programs: Programs, args: Any) -> list[Piece]:
  """The simplex experiment's step."""
  return [_piece("simplex_one_level", False, 45, programs, args)]


def compiled_pieces(programs: Programs, args: Any) -> list[Piece]:
  """The same step beside PyTorch's compiled one."""
  return [_piece("simplex_one_level", True, 45, programs, args)]


BIG_S = {  # expected seconds, in the order in which they run
  ("darts_bilevel_first_order", False): 400,
  ("darts_one_level", False): 300,
  ("nasbench201", False): 30,
  ("fbnet_path", False): 90,
  ("darts_bilevel_first_order", True): 200,
  ("darts_one_level", True): 200,
  ("fbnet_mixture", False): 240,
}
AHEAD = ("darts_bilevel_first_order", "darts_one_level", "nasbench201")


def big_pieces(programs: Programs, args: Any) -> list[Piece]:
  """The large supernets; what compiles longest comes last."""
  kinds = [("fbnet_path", False)] if args.smoke else BIG_S
  return [_piece(*kind, BIG_S[kind], programs, args) for kind in kinds]

"""Our search steps, compiled: the configs, and programs by kind."""

import concurrent.futures
from collections.abc import Callable
from typing import Any, NamedTuple

import hwnas_jax as hw
from experiments.benchmarks import supernet as benchmark
from experiments.benchmarks.program import build
from experiments.gpu.runner import Record
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config

TWINS = (*benchmark.SMALL, *benchmark.BIG)  # kinds with a step in PyTorch


class Way(NamedTuple):
  """`block()` runs steps and waits for them."""

  block: Callable[[], object]
  about: Record


def make_config(kind: str, args: Any, bfloat16: bool = False) -> Config:
  """The config of a kind of step; mock images, only their shape matters."""
  if kind in TWINS:
    config = benchmark.make_config(kind, 64, args.block)
  elif kind == "nasbench201":
    config = hw.load_config("nasbench201")
    config.cost.name = "macs"  # no table is needed to time a step
  else:  # fbnet_path, fbnet_mixture: as experiments/samplers/memory.py
    config = hw.load_config("mobile")
    config.controller.name, config.condition.name = "table", "fixed"
    config.cost.name, config.penalty.name = "macs", "none"
    name = "gdas" if kind == "fbnet_path" else "softmax"
    config.sampler.update(name=name, per_example=False)
    config.search.bilevel = False
  if not config.data.name.startswith("mock_"):
    config.data.name = f"mock_{config.data.name}"
  config.search.steps_per_dispatch = args.block
  config.precision = "bfloat16" if bfloat16 else "float32"
  if args.smoke:
    shrink(config)
  return problems.resolve(config)


def shrink(config: Any) -> None:
  """Gives a ConfigDict the sizes of a smoke run."""
  config.search.batch_size = 8
  if config.space.name == "mobile":
    config.space.skeleton = "tiny"
  elif config.space.name == "nasbench201":
    config.space.update(num_cells=1, channels=4)
  else:
    config.space.update(ops="three", num_cells=3, num_nodes=1, channels=4)
    config.derive.update(num_cells=0, channels=0)


class Programs:
  """Our compiled steps by (kind, bfloat16), each compiled once."""

  def __init__(self, args: Any) -> None:
    """Nothing is compiled yet."""
    self._args = args
    self._pool = concurrent.futures.ThreadPoolExecutor(4)
    self._futures: dict[tuple[str, bool], Any] = {}

  def start(self, kind: str, bfloat16: bool = False) -> Any:
    """Compiles beside what runs; compile seconds then are of a busy host."""
    name = kind, bfloat16
    if name not in self._futures:
      config = make_config(kind, self._args, bfloat16)
      self._futures[name] = self._pool.submit(build, config)
    return self._futures[name]

  def wait(self, timeout_s: float | None = None) -> None:
    """Until nothing is compiled, so that what is timed runs alone."""
    concurrent.futures.wait(self._futures.values(), timeout_s)

  def get(self, kind: str, bfloat16: bool = False) -> Way:
    """Waits for it."""
    beside = (kind, bfloat16) in self._futures
    program = self.start(kind, bfloat16).result()
    program.about.setdefault("compiled_beside_other_work", beside)
    return Way(program.block, program.about)

"""Our search steps, compiled: the configs, and programs by kind."""

import concurrent.futures
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hwnas_jax as hw
from experiments.benchmarks import supernet as benchmark
from experiments.benchmarks.program import Program, build
from experiments.gpu.runner import Record, say
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.nets.conv import tracing_for

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


class Form(NamedTuple):
  """How our step is compiled.

  shifted: depthwise convolutions are sums of shifted images, and dense ones
    have their own backward pass, as on a CPU; else both are
    `lax.conv_general_dilated`, as the library compiles them for a GPU.
  """

  bfloat16: bool = False
  shifted: bool = False

  @property
  def dtype(self) -> str:
    """The type it computes in."""
    return "bfloat16" if self.bfloat16 else "float32"

  @property
  def name(self) -> str:
    """Such as "ours float32 shifted"."""
    return f"ours {self.dtype}{' shifted' if self.shifted else ''}"


DTYPES = ("float32", "bfloat16")


def forms(args: Any, dtypes: Sequence[str] = DTYPES) -> list[Form]:
  """Those of --forms, of each these precisions."""
  return [
    Form(dtype == "bfloat16", name == "shifted")
    for name in args.forms.split(",")
    for dtype in dtypes
  ]


class Programs:
  """Our compiled steps by (kind, form), each compiled once."""

  def __init__(self, args: Any) -> None:
    """Nothing is compiled yet."""
    self._args = args
    self._pool = concurrent.futures.ThreadPoolExecutor(4)
    self._futures: dict[tuple[str, Form], Any] = {}

  def start(self, kind: str, form: Form) -> Any:
    """Compiles beside what runs; compile seconds then are of a busy host."""
    name = kind, form
    if name not in self._futures:
      config = make_config(kind, self._args, form.bfloat16)
      self._futures[name] = self._pool.submit(_build, config, form.shifted)
    return self._futures[name]

  def wait(self, timeout_s: float | None = None) -> None:
    """Until nothing is compiled, so that what is timed runs alone."""
    concurrent.futures.wait(self._futures.values(), timeout_s)

  def compiled(self, kind: str, form: Form) -> Program:
    """Waits for it."""
    beside = (kind, form) in self._futures
    program: Program = self.start(kind, form).result()
    if "compiled_beside_other_work" not in program.about:
      program.about["compiled_beside_other_work"] = beside
      say(f"   compiled {form.name}: {program.about}")
    return program

  def get(self, kind: str, form: Form) -> Way:
    """Waits for it, and runs its first block, which may take minutes."""
    program = self.compiled(kind, form)
    if "first_block_s" not in program.about:
      start = time.perf_counter()
      program.block()
      program.about["first_block_s"] = time.perf_counter() - start
    return Way(program.block, program.about)


def _build(config: Config, shifted: bool) -> Program:
  with tracing_for("cpu" if shifted else ""):
    return build(config)

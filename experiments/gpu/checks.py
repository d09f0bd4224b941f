"""Stage a: what the machine is, and whether it computes what a CPU does."""

import functools
import pathlib
import subprocess
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hwnas_jax as hw
from experiments.gpu import conv_check, step_check
from experiments.gpu.runner import Piece, Record, Save, each, say
from hwnas_jax.config import default, method, presets
from hwnas_jax.config import problem as problems
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import FORBIDDEN
from hwnas_jax.costs.measure.chains import random_inputs
from hwnas_jax.data import load
from hwnas_jax.method.samplers import SAMPLERS
from hwnas_jax.method.step import init_state, make_step
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.nets.models import make_network, make_supernet
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

ROOT = pathlib.Path(__file__).parents[2]
BOUND = 1e-4  # largest difference over largest value, float32 "highest"
SPACES = {
  "darts": "digits:smoke",
  "nasbench201": "nasbench201:smoke",
  "mobile": "mobile:smoke",
  "custom": f"{ROOT}/experiments/custom_space/config.py:smoke",
}
BATCH = 16


def environment(save: Save) -> Record:
  """Device, memory and driver, as JAX and nvidia-smi give them."""
  del save
  device = jax.devices()[0]
  query = "name,memory.total,memory.used,driver_version,clocks.sm,power.limit"
  try:
    smi = subprocess.run(
      ["nvidia-smi", f"--query-gpu={query}", "--format=csv"],
      capture_output=True,
      text=True,
      timeout=20,
      check=True,
    ).stdout.strip()
  except (OSError, subprocess.SubprocessError) as error:
    smi = f"none: {error}"
  return {
    "devices": [str(d) for d in jax.devices()],
    "platform_version": device.client.platform_version,
    "memory_stats": device.memory_stats() or {},
    "nvidia_smi": smi,
  }


def _seconds(run: Any, repeats: int) -> float:
  """Median of blocks of ten calls, per call."""
  jax.block_until_ready(run())
  samples = []
  for _ in range(repeats):
    start = time.perf_counter()
    results = [run() for _ in range(10)]
    jax.block_until_ready(results[-1])
    samples.append((time.perf_counter() - start) / 10)
    del results
  return float(np.median(samples))


def rates(save: Save, smoke: bool) -> Record:
  """Matrix products in TFLOP/s and copies in GB/s (read and written)."""
  record: Record = {}
  size = 256 if smoke else 8192
  for name, dtype, precision in (
    ("bfloat16", jnp.bfloat16, "default"),
    ("float32 default", jnp.float32, "default"),
    ("float32 highest", jnp.float32, "highest"),
  ):
    key = jax.random.key(0)
    a, b = (jax.random.normal(k, (size,) * 2, dtype) for k in (key, key))
    product = jax.jit(functools.partial(jnp.matmul, precision=precision))
    seconds = _seconds(lambda f=product, a=a, b=b: f(a, b), 3)
    record[f"{name} TFLOP/s"] = 2 * size**3 / seconds / 1e12
    save(record)
  x = jnp.zeros((2**20 if smoke else 2**28,), jnp.float32)
  add = jax.jit(lambda x: x + 1)
  seconds = _seconds(lambda: add(x), 3)
  record["copy GB/s"] = 2 * x.nbytes / seconds / 1e9
  tiny = jnp.zeros(())
  record["dispatch_and_wait_us"] = 1e6 * float(
    np.median([_one(lambda: add(tiny)) for _ in range(200)])
  )
  return record | {"matrix": size, "copied_mib": x.nbytes / 2**20}


def _one(run: Any) -> float:
  start = time.perf_counter()
  jax.block_until_ready(run())
  return time.perf_counter() - start


def _cpu() -> jax.Device:
  return jax.devices("cpu")[0]


def _difference(function: Any, inputs: Any) -> Record:
  """The function as for a GPU, on the default device, against a CPU's way."""
  with tracing_for("cpu"), jax.default_matmul_precision("highest"):
    wanted = jax.jit(function)(*jax.device_put(inputs, _cpu()))
  wanted = np.asarray(wanted, np.float64)
  there = jax.device_put(inputs, jax.devices()[0])
  row: Record = {}
  for precision in ("highest", "default"):
    # Wrapped anew: the two traces must not share an executable.
    fresh = lambda *args: function(*args)  # noqa: E731
    with tracing_for("gpu"), jax.default_matmul_precision(precision):
      got = np.asarray(jax.jit(fresh)(*there), np.float64)
    row[precision] = float(np.abs(got - wanted).max() / np.abs(wanted).max())
  row["shape"] = list(wanted.shape)
  if not row["highest"] <= BOUND:  # or not a number
    row["error"] = f"{row['highest']:.1e}, over {BOUND:.0e}"
  return row


def _derived(net: Spec) -> Record:
  genotype = architecture.random_genotype(net.space(), np.random.default_rng(0))
  module = make_network(net, genotype, "eval")
  variables, images = random_inputs(module, (BATCH, *net.image))
  return _difference(lambda v, x: module.apply(v, x)[0], (variables, images))


def _supernet(net: Spec) -> Record:
  supernet, rng = make_supernet(net), np.random.default_rng(0)
  logits = rng.normal(size=net.space().shape).astype(np.float32)
  logits = np.where(net.space().allowed(), logits, FORBIDDEN)
  mix = jax.nn.softmax(jnp.asarray(logits, jnp.float32))
  images = rng.normal(size=(BATCH, *net.image)).astype(np.float32)
  weights = jax.jit(supernet.init)(jax.random.key(0))
  return _difference(supernet.apply, (weights, mix, images))


def agreement(save: Save, spaces: dict[str, str]) -> Record:
  """Logits of a derived network and the supernet of every space."""
  nets = {
    space: problems.make_nets(problems.resolve(hw.load_config(spec))).derived
    for space, spec in spaces.items()
  }
  kinds = {"derived": _derived, "supernet": _supernet}
  jobs = [(space, kind) for space in nets for kind in kinds]
  record = {}
  for (space, kind), row in each(
    lambda job: kinds[job[1]](nets[job[0]]), jobs, 8
  ):
    record[f"{space} {kind}"] = row
    save(record)
    say(f"   {space} {kind}: {row}")
  return record


def _sampler_step(name: str, smoke: bool) -> Record:
  """One step of a tiny supernet; whether all of its state is finite."""
  config, sampler = default(), SAMPLERS[name]
  config.space.name = "darts" if smoke else "nasbench201"
  presets.smoke(config)
  if smoke:
    config.space.update(step_check.TINY)
  else:
    config.derive.rule = "argmax"
  config.controller.name = "table" if sampler.moves_logits else "pivots"
  config.condition.name = "fixed" if sampler.moves_logits else "cone"
  config.cost.name = "macs"
  config.sampler.update(
    name=name, per_example=sampler.noisy and not sampler.path
  )
  config.temperature.end = max(
    config.temperature.end, sampler.least_temperature
  )
  fields = problems.resolve(config)
  dataset = load.load(fields.data.name)
  problem = problems.make(fields, problems.make_nets(fields, dataset), None)
  parts, settings = method.make_parts(problem, dataset)
  data, _ = method.make_search_data(fields, dataset)
  spans = method.make_phases(fields)
  state = jax.jit(lambda k: init_state(parts, spans, k))(stream(0, "search"))
  step = jax.jit(make_step(parts, settings, spans[-1].phase))
  state, metrics = step(state, data, problem.costs)
  leaves = [
    leaf
    for leaf in jax.tree.leaves((state, metrics))
    if jnp.issubdtype(leaf.dtype, jnp.floating)
  ]
  if not all(bool(jnp.isfinite(leaf).all()) for leaf in leaves):
    return {"error": "not finite"}
  return {"finite": True, "loss": float(metrics["loss"])}


def samplers(save: Save, names: list[str], smoke: bool) -> Record:
  """A search step by every sampler."""
  record: Record = {}
  step = functools.partial(_sampler_step, smoke=smoke)
  for name, row in each(step, names, 12):
    record[name] = row
    save(record)
    say(f"   {name}: {row}")
  return record


def pieces(args: Any) -> list[Piece]:
  """The stage's pieces."""
  names, spaces = [*SAMPLERS], SPACES
  if args.smoke:
    names, spaces = ["softmax"], {"mobile": SPACES["mobile"]}
  size = {"batch": BATCH, "configs": spaces, "bound": BOUND}
  return [
    Piece("environment", 2, environment),
    Piece("rates", 8, functools.partial(rates, smoke=args.smoke)),
    Piece("agreement", 85, functools.partial(agreement, spaces=spaces), size),
    Piece(
      "convolutions",
      20,
      conv_check.convolutions,
      {"images": conv_check.IMAGES, "bound": conv_check.BOUND},
    ),
    Piece(
      "steps",
      60,
      functools.partial(step_check.steps, smoke=args.smoke),
      (step_check.TINY if args.smoke else step_check.SMALL)
      | {"bound": step_check.BOUND},
    ),
    Piece(
      "samplers",
      90,
      functools.partial(samplers, names=names, smoke=args.smoke),
      step_check.TINY if args.smoke else {"space": "nasbench201, 1 cell, C=4"},
    ),
  ]

"""The memory of a search step with one path; steps are compiled, not run.

  python experiments/samplers/memory.py

The search step on FBNet's chain in its 32x32 form, 22 layers of 9 operations,
weights and logits at once, by ordered sampling and by the softmax mixture;
beside them a training step of the largest network of the space, rematerialised
alike (a chain whose layers have that one operation). Temporary memory of a
compiled step is a constant (gradients and other buffers in the shape of the
weights) plus a part that grows with the batch: the activations. That part, at
--batch, is what is compared: the difference between --batch and its half,
twice. Ways that --json already has are skipped.
"""

import argparse
import dataclasses
import pathlib
import time

import jax
import jax.numpy as jnp

from hwnas_jax import config as configuration
from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.problem import Nets
from hwnas_jax.core.compile import jit
from hwnas_jax.core.rng import stream
from hwnas_jax.io import readers, versions, writers
from hwnas_jax.method.step import init_state, make_step
from hwnas_jax.runs import pipeline
from hwnas_jax.spaces.mobile import SKELETONS, Chain

RESULTS = pathlib.Path(__file__).parent / "memory.json"
LARGEST = "mb_k5_e6"
WAYS = {
  "ordered": ("ordered", None),
  "softmax": ("softmax", None),
  "largest": ("softmax", (LARGEST,)),
}


def make_config(sampler: str, batch: int, steps: int = 1) -> Config:
  """One-level search steps on mock CIFAR-10."""
  config = configuration.default()
  config.data.name = "mock_cifar10"
  config.space.update(name="mobile", skeleton="fbnet_32")
  config.controller.name, config.condition.name = "table", "fixed"
  config.cost.name, config.penalty.name = "macs", "none"
  config.sampler.update(name=sampler, per_example=False)
  config.derive.rule = "argmax"
  config.search.update(batch_size=batch, steps_per_dispatch=steps)
  return problems.resolve(config)


def compiled(
  sampler: str, ops: tuple[str, ...] | None, batch: int, skeleton: str
) -> dict[str, float]:
  """Bytes and seconds of one compiled step."""
  config = make_config(sampler, batch)
  dataset = pipeline.load_dataset(config)
  net = problems.make_nets(config).supernet
  assert isinstance(net, Chain)
  changes = {"ops": ops} if ops else {}
  frame = dataclasses.replace(SKELETONS[skeleton], **changes)
  net = dataclasses.replace(net, skeleton=frame)
  problem = problems.make(config, Nets(net, net), None)
  parts, settings = method.make_parts(problem, dataset)
  data, _ = method.make_search_data(config, dataset)
  (span,) = spans = method.make_phases(config)
  state = jax.eval_shape(lambda: init_state(parts, spans, stream(0, "search")))
  step = make_step(parts, settings, span.phase)
  step = jit(step, large=settings.large, donate_argnums=0)
  start = time.perf_counter()
  memory = step.lower(state, data, problem.costs).compile().memory_analysis()
  return {
    "temp_bytes": memory.temp_size_in_bytes,
    "compile_s": round(time.perf_counter() - start, 1),
    "weights_bytes": sum(
      jnp.dtype(leaf.dtype).itemsize * leaf.size
      for leaf in jax.tree.leaves(state.weights)
    ),
  }


def main() -> None:
  """Compiles what --json lacks; prints the comparison."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--batch", type=int, default=128)
  parser.add_argument("--skeleton", default="fbnet_32", choices=SKELETONS)
  args = parser.parse_args()
  results = readers.read_json(args.json) if args.json.exists() else {}
  for way, (sampler, ops) in WAYS.items():
    for batch in (args.batch // 2, args.batch):
      name = f"{way} {args.skeleton} batch={batch}"
      if name not in results:
        memory = compiled(sampler, ops, batch, args.skeleton)
        results[name] = memory | {"versions": versions.versions()}
        writers.write_json(args.json, results)
        print(name, memory, flush=True)
  growth = {}
  for way in WAYS:
    half, whole = (
      results[f"{way} {args.skeleton} batch={b}"]["temp_bytes"]
      for b in (args.batch // 2, args.batch)
    )
    growth[way] = 2 * (whole - half)
  for way, grown in growth.items():
    print(
      f"{way:10}{grown / 2**20:10.1f} MiB of activations,"
      f" {grown / growth['largest']:.2f} of the largest network's"
    )


if __name__ == "__main__":
  main()

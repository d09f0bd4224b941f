"""How many steps each sampler needs to prefer a good operation to a bad one.

  python experiments/samplers/toy.py

Two choices, each of a 3x3 convolution and of noise, add up to the features
that a linear classifier reads; images of two classes differ in an edge that a
3x3 filter finds. The step is the library's, one-level, without a price. A seed
is done when both choices give the convolution nine of ten; the table has the
median and the largest number of steps over ten seeds.
"""

import argparse
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hwnas_jax.core.types import Array, Mix, Params
from hwnas_jax.io import readers, versions, writers
from hwnas_jax.method.estimators import BOTH, Estimator, Sampling, Variables
from hwnas_jax.method.samplers import SAMPLERS, make_estimator
from hwnas_jax.nets.paths import mix_all, run_paths

RESULTS = pathlib.Path(__file__).parent / "toy.json"
SEEDS, LIMIT, BATCH = 10, 2000, 64
NUM_SAMPLES = 10  # of reinforce, paths a step
ESTIMATORS: dict[str, Estimator] = {
  name: make_estimator(sampler, None, NUM_SAMPLES)
  for name, sampler in SAMPLERS.items()
}


def draw_batch(key: Array) -> tuple[Array, Array]:
  """Noisy images [B, 8, 8, 1] with a vertical or a horizontal edge."""
  label_key, place_key, noise_key = jax.random.split(key, 3)
  labels = jax.random.bernoulli(label_key, 0.5, (BATCH,)).astype(jnp.int32)
  place = jax.random.randint(place_key, (BATCH, 1, 1), 2, 6)
  line = (jnp.arange(8)[None, None, :] >= place).astype(jnp.float32)
  upright = jnp.broadcast_to(line, (BATCH, 8, 8))
  images = jnp.where(
    labels[:, None, None] == 1, upright, upright.swapaxes(1, 2)
  )
  noise = 0.3 * jax.random.normal(noise_key, images.shape)
  return (images + noise)[..., None], labels


def loss_on(key: Array) -> Any:
  """loss(weights, mix) on a fresh batch; the noise operation draws too."""
  batch_key, noise_key = jax.random.split(key)
  images, labels = draw_batch(batch_key)
  noise = jax.random.normal(noise_key, (2, BATCH, 8, 8, 4))

  def convolution(params: Params, x: Array) -> Array:
    shape = ("NHWC", "HWIO", "NHWC")
    return jax.nn.relu(
      jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), "SAME", dimension_numbers=shape
      )
    )

  def loss(weights: Params, mix: Mix) -> tuple[Array, dict[str, Array]]:
    features = jnp.zeros((BATCH, 8, 8, 4))
    for choice in range(2):
      branches = [convolution, lambda params, x, c=choice: noise[c]]
      params = jax.tree.map(lambda w, c=choice: w[c], weights["choices"])
      row = mix.weights[choice]
      if mix.paths is None:
        features += mix_all(branches, params, images, row)
      else:
        paths = jax.tree.map(lambda p, c=choice: p[c], mix.paths)
        features += run_paths(branches, params, images, row, paths)
    logits = features.mean((1, 2)) @ weights["linear"]
    error = optax.softmax_cross_entropy_with_integer_labels(
      logits, labels
    ).mean()
    return error, {"loss": error}

  return loss


def search(name: str, seed: Array) -> Array:
  """Steps until both choices give the convolution nine of ten, or LIMIT."""
  estimator = ESTIMATORS[name]
  of_weights, of_logits = optax.adam(0.01), optax.adam(0.03)
  key = jax.random.key(seed)
  kernel_key, linear_key, run_key = jax.random.split(key, 3)
  weights = {
    "choices": {"kernel": 0.3 * jax.random.normal(kernel_key, (2, 3, 3, 1, 4))},
    "linear": 0.5 * jax.random.normal(linear_key, (4, 2)),
  }
  logits = jnp.zeros((2, 2))

  def step(carry: Any) -> Any:
    count, weights, logits, states, kept, _ = carry
    data_key, noise_key = jax.random.split(jax.random.fold_in(run_key, count))
    grads, _, kept = estimator.grads(
      loss_on(data_key),
      BOTH,
      Variables(weights, logits),
      Sampling(noise_key, jnp.ones(())),
      kept,
    )
    updates, first = of_weights.update(grads.weights, states[0])
    weights = optax.apply_updates(weights, updates)
    updates, second = of_logits.update(grads.logits, states[1])
    new = optax.apply_updates(logits, updates)
    if estimator.project is not None:
      new = estimator.project(noise_key, logits, new)
    share = jax.nn.softmax(new)[:, 0].min()
    return count + 1, weights, new, (first, second), kept, share

  states = of_weights.init(weights), of_logits.init(logits)
  carry = 0, weights, logits, states, estimator.init(), jnp.zeros(())
  going = lambda carry: (carry[0] < LIMIT) & (carry[-1] < 0.9)  # noqa: E731
  return jax.lax.while_loop(going, step, carry)[0]


def main() -> None:
  """Runs what --json lacks; prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--json", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--seeds", type=int, default=SEEDS)
  args = parser.parse_args()
  results = readers.read_json(args.json) if args.json.exists() else {}
  for name in ESTIMATORS:
    if name not in results:
      run = jax.jit(lambda seed, name=name: search(name, seed))
      steps = [int(run(seed)) for seed in range(args.seeds)]
      results[name] = {"steps": steps, "versions": versions.versions()}
      writers.write_json(args.json, results)
    steps = results[name]["steps"]
    print(
      f"{name:18} done in {sum(s < LIMIT for s in steps)} of {len(steps)}"
      f" seeds, {np.median(steps):6.0f} steps in the median, {max(steps)} at"
      " most",
      flush=True,
    )


if __name__ == "__main__":
  main()

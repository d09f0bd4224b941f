"""One search over the cone against a search for each device and scale.

  python -m experiments.nasbench201.own_full_size.separate --data_dir=NB201 \
    --scores DIR/full_seed{0,1,2}.npz

From the repository root; arguments are those of `protocol.run`. A query asks
the frozen controller for 27 devices x 33 scales. Here each is a search of its
own: logits [E, O] without a controller, trained against the same surrogate at
that device's prices and that scale alone, by the same loss. They are trained at
once, but know nothing of each other.

The frozen controller is trained by 20,000 draws of a condition in all. A search
of its own has 22, as many as the controller in all 891 together, or 200, or a
tenth of the controller's. Its learning rate grows as the steps get fewer.

`random` takes 20 random cells that fill the budget as candidates do.

Writes separate.json, row by row; what is there is not made again.
"""

import functools
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.made import begin, made
from experiments.nasbench201.own_full_size import conditioning
from experiments.nasbench201.protocol import choices, controller, data
from experiments.nasbench201.protocol.choices import Frozen
from experiments.nasbench201.protocol.controller import (
  FROZEN,
  HIGH,
  LOW,
  NUM_SCALES,
  PRICE,
  REFERENCE,
  SPACE,
  TEMPERATURE,
)
from experiments.nasbench201.protocol.data import Cells
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Array, Condition
from hwnas_jax.io import readers, writers
from hwnas_jax.method import samplers
from hwnas_jax.method.entropy import entropies
from hwnas_jax.method.surrogate import Surrogate

HERE = pathlib.Path(__file__).parent
RATES = {22: 0.3, 200: 0.1, 2_000: 0.03}  # by steps


@functools.partial(jax.jit, static_argnums=(2, 3))
def train(
  surrogate: Surrogate, simplex: Array, entropy: float, steps: int, key: Array
) -> Array:
  """Logits of a search for each of D devices and NUM_SCALES scales.

  Args:
    surrogate: of quality.
    simplex: prices [D, K].
    entropy: weight of the entropy.
    steps: of each search, a key of RATES.
    key: of all draws.

  Returns:
    [D, NUM_SCALES, E, O].
  """
  draw = samplers.SAMPLERS[FROZEN.sampler].draw
  assert draw is not None
  scales = jnp.geomspace(LOW, HIGH, NUM_SCALES)
  reference = jnp.asarray(REFERENCE, jnp.float32)

  def loss(
    logits: Array, simplex: Array, scale: Array, key: Array, done: Array
  ) -> Array:
    mix = draw(key, logits, TEMPERATURE(done), FROZEN.draws)
    prices = PRICE(reference, Condition(simplex, scale))
    return (
      -surrogate.quality(mix.weights).mean()
      + (prices * jax.nn.softmax(logits)).sum()
      - entropy * entropies(logits).sum()
    )

  gradient = jax.vmap(jax.grad(loss), (0, None, 0, 0, None))  # scales
  gradient = jax.vmap(gradient, (0, 0, None, 0, None))  # devices
  adam = optax.adam(optax.cosine_decay_schedule(RATES[steps], steps))
  shape = len(simplex), NUM_SCALES
  logits = jnp.zeros((*shape, *SPACE.shape))

  def step(state: Any, index: Array) -> tuple[Any, None]:
    logits, moments = state
    keys = jax.random.split(jax.random.fold_in(key, index), shape)
    grads = gradient(logits, simplex, scales, keys, index / steps)
    updates, moments = adam.update(grads, moments)
    return (logits + updates, moments), None

  state = logits, adam.init(logits)
  return jax.lax.scan(step, state, jnp.arange(steps))[0][0]


def picked(
  frozen: Frozen, cells: Cells, seed: int, steps: int
) -> dict[str, Any]:
  """[mean of the settings, worst setting] by who chooses, and seconds."""
  settings = frozen.controllers["committee"]
  weights = frozen.committee.weights
  surrogate = choices.fit_surrogate(cells, "committee", weights, seed)
  simplex = jnp.asarray(choices.prices(cells, seed), jnp.float32)
  start = time.monotonic()
  key = stream(seed, "training")
  logits = train(surrogate, simplex, settings.entropy, steps, key)
  logits.block_until_ready()
  seconds = time.monotonic() - start
  likelihoods = controller.of_cells(logits, cells.genotypes)
  row = conditioning.worth(cells, frozen, likelihoods, seed)
  return row | {"train_s": round(seconds, 1)}


def at_random(frozen: Frozen, cells: Cells, seed: int) -> dict[str, Any]:
  """`worth` of random candidates, as if a controller knew nothing."""
  rng = np.random.default_rng(seed)
  shape = len(cells.latency_ms), 1, len(cells.indices)
  return conditioning.worth(cells, frozen, rng.random(shape), seed)


def main() -> None:
  """Trains separate searches from every seed, on both halves."""
  args = conditioning.parse(__doc__, HERE / "separate.json")
  start = begin()
  frozen = choices.read(readers.read_json(HERE / "frozen.json"))
  supernets = [data.load(args.data_dir, path) for path in args.scores]
  rows = readers.read_json(args.json) if args.json.exists() else {}
  makers = {
    "random": at_random,
    **{f"{n} steps": functools.partial(picked, steps=n) for n in RATES},
  }
  for name, make in makers.items():
    row = rows.setdefault(name, {})

    def save(row: dict[str, Any] = row) -> None:
      row["made"] = made(start, seeds=[*range(conditioning.SEEDS)])
      writers.write_json(args.json, rows)

    pick = functools.partial(make, frozen)
    conditioning.fill(row, ("half", "other", "all"), supernets, pick, save)
    print(name, row, flush=True)


if __name__ == "__main__":
  main()

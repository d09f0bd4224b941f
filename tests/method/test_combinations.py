"""Every two values that a config may combine, run together on arrays.

A greedy covering array: each pair of values of two fields is in one of its
rows, but for the pairs that `checks.check` refuses.
"""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from toy_config import config

from hwnas_jax.config import checks
from hwnas_jax.method import (
  conditions,
  controllers,
  penalty,
  phases,
  price,
  schedule,
)
from hwnas_jax.method.phases import Phase
from hwnas_jax.method.samplers import SAMPLERS, make_estimator
from hwnas_jax.method.state import CostTable, SearchData
from hwnas_jax.method.step import Parts, Settings, init_state, make_step
from hwnas_jax.nets.paths import mix_all, run_paths
from hwnas_jax.nets.supernet import Net

ROWS = controllers.Rows((2, 3), (0, 1))
CONE = conditions.cone(3, 0.1, 10.0)
DEVICES = conditions.draw_devices(jax.random.key(0), 2, 3)
TARGET_MS = 3.0
PARTS = {
  "sampler.name": {n: make_estimator(s, None, 3) for n, s in SAMPLERS.items()},
  "condition.name": {
    "fixed": conditions.fixed(3, 1.0),
    "simplex": conditions.simplex(3),
    "cone": CONE,
    "scale": conditions.scale(3, 0.1, 10.0),
    "devices": conditions.devices(DEVICES, 0.1, 10.0),
  },
  "controller.name": {
    "table": lambda given: controllers.table(ROWS),
    "pivots": lambda given: controllers.pivots(ROWS, given),
    "piecewise": lambda given: controllers.piecewise(ROWS, 3),
    "mlp": lambda given: controllers.mlp(ROWS, given, (8,)),
    "mixture": lambda given: controllers.mixture(ROWS, given, 2, 3),
  },
  "penalty.name": {
    name: kind.make(penalty.PenaltySettings(TARGET_MS))
    for name, kind in penalty.PENALTIES.items()
  },
}
STEPS = 5
PLANS = {
  "one phase": {},
  "warm-up by another": {"warmup_steps": 2, "warmup": "ordered"},
  "by the epoch": {"warmup_steps": 1, "epoch_steps": 1},
}
FIELDS = {
  "plan": tuple(PLANS),
  "search.bilevel": (True, False),
  "search.order": ("first", "exact", "difference"),
  "search.every": (1, 2),
  "search.same_key": (False, True),
  "penalty.on": ("expected", "sampled"),
  **{field: tuple(parts) for field, parts in PARTS.items()},
}
TARGETED = tuple(n for n, k in penalty.PENALTIES.items() if k.targeted)
PATHS = tuple(n for n, s in SAMPLERS.items() if s.path)
# (field, values, another, values): none of the first with one of the second.
NEVER = [
  ("search.bilevel", [False], "search.order", ["exact", "difference"]),
  ("search.bilevel", [False], "search.every", [2]),
  ("search.bilevel", [False], "search.same_key", [True]),
  ("search.bilevel", [False], "plan", ["by the epoch"]),
  ("search.bilevel", [False], "condition.name", ["devices"]),
  ("plan", ["by the epoch"], "search.order", ["exact", "difference"]),
  ("plan", ["by the epoch"], "search.every", [2]),
  ("plan", ["by the epoch"], "search.same_key", [True]),
  ("sampler.name", PATHS, "search.order", ["exact", "difference"]),
  ("sampler.name", ["softmax"], "penalty.on", ["sampled"]),
  (
    *("sampler.name", ["two_gates"], "controller.name"),
    ["pivots", "piecewise", "mlp", "mixture"],
  ),
  (
    *("controller.name", ["table"], "condition.name"),
    ["simplex", "cone", "scale", "devices"],
  ),
  (
    *("controller.name", ["piecewise", "mixture"], "condition.name"),
    ["fixed", "simplex"],
  ),
  (
    *("penalty.name", TARGETED, "condition.name"),
    ["simplex", "cone", "scale", "devices"],
  ),
]
REFUSED = {
  frozenset({(a, x), (b, y)})
  for a, first, b, second in NEVER
  for x, y in itertools.product(first, second)
}


def pairs_of(row):
  return {frozenset(p) for p in itertools.combinations(row.items(), 2)}


def complete(row, todo):
  """The row with all fields, of values with many pairs to do; None: no way."""
  missing = [field for field in FIELDS if field not in row]
  if not missing:
    return row
  tried = [row | {missing[0]: value} for value in FIELDS[missing[0]]]
  tried.sort(key=lambda more: -len(pairs_of(more) & todo))
  fitting = (more for more in tried if not pairs_of(more) & REFUSED)
  found = (complete(more, todo) for more in fitting)
  return next((row for row in found if row is not None), None)


def covering():
  """Rows that together have every pair that can be had."""
  fields = [[(f, value) for value in FIELDS[f]] for f in FIELDS]
  pairs = [
    frozenset(pair)
    for a, b in itertools.combinations(fields, 2)
    for pair in itertools.product(a, b)
    if frozenset(pair) not in REFUSED
  ]
  todo, rows = set(pairs), []
  for pair in pairs:
    row = complete(dict(sorted(pair)), todo) if pair in todo else None
    if row is not None:  # else it is refused by way of a third field
      todo -= pairs_of(row)
      rows.append({field: row[field] for field in FIELDS})
  return rows


COVERING = covering()


def config_of(row):
  """The config that says what the row does."""
  plan = PLANS[row["plan"]]
  given = {name: v for name, v in row.items() if name != "plan"} | {
    "cost.name": "latency" if row["condition.name"] != "simplex" else "paper",
    "penalty.target": "60%" if row["penalty.name"] in TARGETED else "",
    "sampler.per_example": False,
    "sampler.warmup": plan.get("warmup", ""),
    "search.epoch_steps": plan.get("epoch_steps", 0),
    "search.warmup_steps": plan.get("warmup_steps", 0),
    "search.num_steps": STEPS,
    "search.steps_per_dispatch": 1,
    "temperature.end": 1.0,
  }
  return config(**given)


@pytest.mark.parametrize("field", [*PARTS, "search.order", "penalty.on"])
def test_nothing_that_a_config_may_name_is_forgotten(field):
  assert set(FIELDS[field]) == set(checks.choices()[field])


def test_every_row_is_a_config_and_what_is_in_none_is_refused():
  for row in COVERING:
    checks.check(config_of(row))
  plain = {field: values[0] for field, values in FIELDS.items()}
  plain |= {"sampler.name": "gumbel_softmax", "controller.name": "pivots"}
  checks.check(config_of(plain))
  for pair in REFUSED:
    with pytest.raises(ValueError):
      checks.check(config_of(plain | dict(pair)))


# One step after another.

DATA = SearchData(
  jnp.asarray(np.random.default_rng(0).integers(0, 256, (16, 2, 2, 1)), "u1"),
  jnp.arange(16, dtype=jnp.int32) % 2,
  jnp.arange(8, dtype=jnp.int32),
  jnp.arange(8, 16, dtype=jnp.int32),
)
TABLE = CostTable(
  jnp.asarray([[1.0, 0.5, 0.2], [0.3, 0.6, 0.9]]), jnp.asarray(1.5)
)


def apply(weights, mix, images, paths=None, identity=None):
  """A chain of choices among three multiples of the mean pixel."""
  branches = [lambda w, x, o=o: w[o] * x for o in range(3)]

  def choice(x, given):
    w, row, own = given
    if own is None:
      y = mix_all(branches, w, x, row)
    else:
      y = run_paths(branches, w, x, row, own)
    return y + identity * x, None

  x = images.mean((1, 2, 3))
  y, _ = lax.scan(choice, x, (weights["w"], mix, paths))
  return jnp.stack([y, -y], -1)


NET = Net(lambda key: {"w": jnp.linspace(0.1, 1.0, 6).reshape(2, 3)}, apply)


def parts_of(row):
  drawn = PARTS["condition.name"][row["condition.name"]]
  paper = row["condition.name"] == "simplex"
  return Parts(
    net=NET,
    controller=PARTS["controller.name"][row["controller.name"]](drawn),
    conditions=drawn,
    price=price.paper((0, 1, 2), 1.0) if paper else price.cone((0, 1, 2)),
    temperature=schedule.linear(1.0, 1.0),
    augment=lambda key, images: images.astype(jnp.float32) / 255,
    weights_optimiser=optax.sgd(0.1, 0.9),
    controller_optimiser=optax.adam(0.05),
    penalty=PARTS["penalty.name"][row["penalty.name"]]._replace(
      derived=lambda logits: jax.nn.one_hot(logits.argmax(-1), 3)
    ),
    identity=lambda progress: 0.1 * (1.0 - progress),
    skip=0,
  )


def spans_of(row):
  plan = dict(PLANS[row["plan"]])
  if "warmup" in plan:
    plan["warmup"] = PARTS["sampler.name"][plan["warmup"]]
  main = Phase(
    PARTS["sampler.name"][row["sampler.name"]],
    joint=not row["search.bilevel"],
    order=row["search.order"],
    every=row["search.every"],
    same_key=row["search.same_key"],
  )
  return phases.plan(main, STEPS, **plan)


def moved(before, after):
  leaves = map(jax.tree.leaves, jax.device_get((before, after)))
  return any((a != b).any() for a, b in zip(*leaves, strict=True))


def settings_of(row):
  warmup_steps = PLANS[row["plan"]].get("warmup_steps", 0)
  return Settings(STEPS, 4, warmup_steps, row["penalty.on"] == "sampled")


def some():
  """Rows that together have every value: to compile all takes minutes."""
  found, todo = [], {item for row in COVERING for item in row.items()}
  while todo:
    found.append(max(COVERING, key=lambda row: len(todo & {*row.items()})))
    todo -= {*found[-1].items()}
  return found


def name_of(row):
  return "-".join(map(str, row.values()))


@pytest.mark.slow
@pytest.mark.parametrize("row", COVERING, ids=name_of)
def test_a_row_gives_a_state_of_the_same_shape(row):
  """Traced, not run: what cannot be combined fails here."""
  parts, spans, settings = parts_of(row), spans_of(row), settings_of(row)
  start = functools.partial(init_state, parts, spans)
  before = jax.eval_shape(start, jax.random.key(0))
  for phase in phases.different(spans):
    step = make_step(parts, settings, phase)
    after, metrics = jax.eval_shape(step, before, DATA, TABLE)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, before)
    assert {m.shape for m in metrics.values()} == {()}
    assert {"loss", "entropy", "skip_share", "temperature"} <= set(metrics)


@pytest.mark.parametrize("row", some(), ids=name_of)
def test_a_row_moves_what_its_phase_says(row):
  parts, spans, settings = parts_of(row), spans_of(row), settings_of(row)
  steps = {
    phase: jax.jit(make_step(parts, settings, phase))
    for phase in phases.different(spans)
  }
  state = init_state(parts, spans, jax.random.key(0))
  for number in range(STEPS):
    phase, before = phases.current(spans, number), state
    state, metrics = steps[phase](state, DATA, TABLE)
    due = phase.controller and number % phase.every == 0
    assert moved(before.weights, state.weights) == phase.weights
    assert moved(before.controller, state.controller) == due
    assert all(np.isfinite(v).all() for v in jax.device_get(metrics).values())
  assert int(state.step) == STEPS

"""Several conditions a step: the mean of their gradients, on any devices."""

import jax
import numpy as np
import optax
import pytest
from toy_config import small

from hwnas_jax.config import checks, method
from hwnas_jax.config import problem as problems
from hwnas_jax.core import devices
from hwnas_jax.data import embedded
from hwnas_jax.method.step import init_state, make_step

COUNT, BATCH = 4, 16


def search(number, **fields):
  """(state, one-step function, its inputs) on `number` devices."""
  made = small(
    **{
      "cost__name": "macs",
      "derive__rule": "argmax",
      "space__num_cells": 1,
      "sampler__name": "gdas",
      "sampler__per_example": False,
      "condition__name": "cone",
      "controller__name": "mlp",
      "search__num_steps": 20,
      "search__batch_size": BATCH,
      "search__conditions_per_step": COUNT,
      "search__steps_per_dispatch": 1,
      "search__weights_decay": 0.0,
      "search__weights_clip": 1e9,
      "data__pad": 1,
      "train__batch_size": BATCH,
    }
    | fields,
    devices=number,
  )
  dataset = embedded.digits()
  checks.check(made)
  problem = problems.make(made, problems.make_nets(made, dataset), None)
  parts, settings = method.make_parts(problem, dataset)
  spans = method.make_phases(made)
  state = init_state(parts, spans, jax.random.key(0))
  data, _ = method.make_search_data(made, dataset)
  mesh = devices.make_mesh(number)
  step = jax.jit(
    make_step(parts, settings, spans[0].phase), **devices.everywhere(mesh)
  )
  return parts, state, step, devices.place((data, problem.costs), mesh)


def vector(tree):
  leaves = [np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(tree)]
  return np.concatenate(leaves)


def stepped(number, **fields):
  """(gradients of weights and controller, metrics) of one step."""
  _, state, step, inputs = search(number, **fields)
  after, metrics = step(state, *inputs)
  # The momentum of a first step is its gradient; Adam's is half of it.
  return (
    vector(optax.tree.get(after.weights_optimiser, "trace")),
    vector(optax.tree.get(after.controller_optimiser, "mu")),
    jax.device_get(metrics),
  )


def test_the_gradient_is_the_mean_over_conditions():
  """Each condition's gradient, written out with a loss of its own."""
  parts, state, _, (data, table) = search(1)
  key = jax.random.fold_in(jax.random.fold_in(state.key, 2), state.step)
  condition_key, weights_key, _ = jax.random.split(key, 3)
  order, noise = jax.random.split(jax.random.fold_in(state.key, 0))
  rows = data.weights_index[
    method.arrays.batch_indices(order, 0, len(data.weights_index), BATCH)
  ]
  images = parts.augment(jax.random.fold_in(noise, 0), data.images[rows])
  labels = data.labels[rows]
  drawn = [
    parts.conditions.draw(k) for k in jax.random.split(condition_key, COUNT)
  ]

  @jax.jit
  def grads_of(key, condition, images, labels):
    def loss(weights, controller):
      features = parts.conditions.features(condition)
      logits = parts.controller.apply(controller, features)
      sampler = method.SAMPLERS["gdas"].draw
      mix = sampler(key, logits, parts.temperature(0.0), None)
      outputs = parts.net.apply(weights, mix.weights, images, paths=mix.paths)
      price = parts.price(table.reference, condition)
      return (
        optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()
        + (price * mix.priced).sum()
      )

    return jax.grad(loss, (0, 1))(state.weights, state.controller)

  total = {"weights": 0.0, "controller": 0.0}
  for number, key in enumerate(jax.random.split(weights_key, COUNT)):
    share = slice(number * BATCH // COUNT, (number + 1) * BATCH // COUNT)
    grads = grads_of(key, drawn[number], images[share], labels[share])
    weight = 1 / (1 + drawn[number].scale)
    total["weights"] += vector(grads[0]) / COUNT
    total["controller"] += weight * vector(grads[1]) / COUNT
  found = stepped(1)
  for one, expected in zip(
    found, (total["weights"], 0.5 * total["controller"]), strict=False
  ):
    assert np.abs(one - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize(
  ("number", "fields"),
  [
    (4, {"search__bilevel": True, "search__every": 2}),
    (2, {"sampler__name": "reinforce"}),
  ],
)
def test_devices_only_place_the_conditions(number, fields):
  expected, found = stepped(1, **fields), stepped(number, **fields)
  for there, here in zip(found[:2], expected[:2], strict=True):
    assert np.abs(here).max() > 0
    assert np.abs(there - here).max() <= 1e-5 * np.abs(here).max()
  for name, value in expected[2].items():
    assert found[2][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_each_device_runs_one_path():
  """Branches stay branches, and nothing is exchanged inside them."""
  _, state, step, inputs = search(4)
  text = step.lower(state, *inputs).compile().as_text()
  assert "conditional(" in text
  bodies = [part for part in text.split("\n\n") if "branch" in part[:200]]
  assert bodies
  assert not any("all-reduce" in body for body in bodies)
  assert "all-reduce" in text


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"search__batch_size": 18}, r"search.batch_size \(18\) must be a multip"),
    ({"devices": 8}, r"must be 1 or a multiple of devices \(8\)"),
    (
      {"condition__name": "devices", "search__bilevel": True},
      "must be 1 with condition.name=devices",
    ),
    (
      {
        "sampler__name": "two_gates",
        "controller__name": "table",
        "condition__name": "fixed",
      },
      "must be 1 with sampler.name=two_gates",
    ),
    ({"search__conditions_per_step": 0}, "search.conditions_per_step"),
  ],
)
def test_what_does_not_go_together_is_refused(fields, message):
  common = {
    "cost__name": "macs",
    "search__batch_size": 64,
    "search__conditions_per_step": 4,
    "train__batch_size": 64,
  }
  with pytest.raises(ValueError, match=message):
    checks.check(small(**common | fields))

"""The parts of a method: made from a problem, with the config's numbers."""

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import optax
import pytest
from toy_config import small

from hwnas_jax.config import method, problem
from hwnas_jax.core.compile import jit
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import timing
from hwnas_jax.data import embedded
from hwnas_jax.derive import collapse
from hwnas_jax.method import conditioned

AIMED = {
  "penalty__name": "power",
  "penalty__target": "20ms",
  "penalty__on": "sampled",
  "condition__name": "fixed",
  "derive__rule": "argmax",
}


def problem_of(config):
  """With a table in which a skip takes 0.5 ms, and all else 2 ms."""
  nets = problem.make_nets(problem.resolve(config))
  sites = nets.derived.space().unique_sites()
  table = tables.empty(config.latency.batch_size)
  entries = tuple(
    timing.entry_of(site, [0.5 if site.op == "skip_connect" else 2.0])
    for site in sites
  )
  table = msgspec.structs.replace(table, entries=entries, finished=True)
  return problem.make(config, nets, table)


def test_the_two_levels_share_no_example():
  config = small(search__bilevel=True, search__weights_fraction=0.25)
  dataset = embedded.digits()
  data, digest = method.make_search_data(config, dataset)
  first, second = (set(np.asarray(i).tolist()) for i in data[2:4])
  count = len(dataset.train.labels)
  assert not first & second and first | second == set(range(count))
  assert len(first) == round(count / 4)
  other = small(seed=1, search__bilevel=True, search__weights_fraction=0.25)
  assert method.make_search_data(other, dataset)[1] != digest


def test_a_batch_larger_than_a_split_is_refused():
  config = small(search__bilevel=True, search__weights_fraction=0.96)
  with pytest.raises(ValueError, match=r"search.batch_size .* 57 examples"):
    method.make_search_data(config, embedded.digits())
  one_level = msgspec.structs.replace(config.search, bilevel=False)
  config = msgspec.structs.replace(config, search=one_level)
  method.make_search_data(config, embedded.digits())
  config = small(search__batch_size=800)
  with pytest.raises(ValueError, match=r"search.batch_size \(800\).* digits"):
    method.make_search_data(config, embedded.digits())


@pytest.mark.parametrize("strength", [0.0, 0.25])
def test_a_penalty_gets_its_target_and_strength(strength):
  made = problem_of(small(**AIMED, penalty__strength=strength))
  parts, settings = method.make_parts(made, embedded.digits())
  state = {name: float(v) for name, v in parts.penalty.init().items()}
  wanted = {"target_ms": 20.0, "strength": strength or 0.1}
  assert state == pytest.approx(wanted, rel=1e-6)
  assert settings.price_sample
  space = made.nets.supernet.space()
  mask = parts.penalty.derived(jnp.eye(*space.shape))
  np.testing.assert_array_equal(mask.sum(-1), np.ones(len(space.choices)))


def test_by_default_the_mix_is_priced_and_nothing_is_aimed_at():
  parts, settings = method.make_parts(problem_of(small()), embedded.digits())
  assert parts.penalty.init() == {} and parts.penalty.derived is None
  assert not settings.price_sample
  assert parts.identity is None and parts.regulariser is None


def test_what_is_added_to_the_loss():
  fields = {"regularise__identity": 0.3, "regularise__entropy": 0.5}
  made = problem_of(small(**fields, controller__classifier=True))
  parts, _ = method.make_parts(made, embedded.digits())
  assert (parts.identity(0.0), parts.identity(1.0)) == (0.3, 0.0)
  logits = jnp.zeros(made.nets.supernet.space().shape)
  np.testing.assert_allclose(
    parts.regulariser(logits), 0.5 * np.log(3), rtol=1e-6
  )
  assert parts.fold is not conditioned.plain


@pytest.mark.parametrize(
  ("sampler", "paths"),
  [
    ("gumbel_softmax", 0),
    ("straight_through", collapse.PATHS),
    ("gdas", collapse.PATHS),
  ],
)
def test_a_search_of_paths_is_judged_by_paths(sampler, paths):
  assert method.paths_of(small(sampler__name=sampler)) == paths


def test_a_held_out_batch_was_not_seen():
  dataset = embedded.digits()
  config = small(search__bilevel=True)
  images, labels = method.held_out(config, dataset, 8)
  data, _ = method.make_search_data(config, dataset)
  rows = data.controller_index[:8]
  np.testing.assert_array_equal(labels, data.labels[rows])
  assert images.shape == (8, 8, 8, 1) and images.dtype == jnp.float32
  # Where nothing was left out, it is of what was seen.
  _, labels = method.held_out(small(search__weights_fraction=1.0), dataset, 8)
  assert len(labels) == 8


@pytest.mark.parametrize("trained", [False, True])
def test_a_pivot_that_stays_does_not_decay(trained):
  """Adam would move it, without a gradient, as far as what has one."""
  config = small(
    controller__name="pivots",
    controller__train_pivots=trained,
    controller__classifier=True,
    search__controller_decay=5e-4,
    search__weights_decay=0.1,
  )
  parts, _ = method.make_parts(problem_of(config), embedded.digits())
  keys = jax.random.split(jax.random.key(0))
  controller, weights = parts.controller.init(keys[0]), parts.net.init(keys[1])
  for params, optimiser in (
    (controller, parts.controller_optimiser),
    (weights, parts.weights_optimiser),
  ):
    no_gradient = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimiser.update(no_gradient, optimiser.init(params), params)
    moved = updates.get(conditioned.LAYER, updates)
    assert np.all(np.asarray(moved["references"]))
    assert np.any(np.asarray(moved["pivots"])) == trained


def test_the_learning_rate_is_computed_once():
  optimiser = method.sgd(0.1, 100, 0.9, optax.add_decayed_weights(3e-4), 5.0)
  weights = {name: jnp.ones((4, 4)) for name in "abc"}
  update = jit(lambda g, s, w: optimiser.update(g, s, w))
  compiled = update.lower(weights, optimiser.init(weights), weights).compile()
  assert compiled.as_text().count(" cosine(") == 1

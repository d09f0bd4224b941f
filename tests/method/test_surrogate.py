"""The surrogate: against a ridge that is solved and refitted in the open."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.core.compile import repeat
from hwnas_jax.method import conditions, controllers, schedule, surrogate
from hwnas_jax.method.phases import Phase, Span
from hwnas_jax.method.samplers import SAMPLERS, make_estimator
from hwnas_jax.method.state import CostTable, SearchData
from hwnas_jax.method.step import Parts, Settings, init_state, make_step
from hwnas_jax.nets.supernet import Net

EDGES, OPS = 4, 3
RNG = np.random.default_rng(0)
CHOSEN = RNG.integers(-1, OPS, (60, EDGES))  # -1 is a choice that is absent
MIXES = (CHOSEN[..., None] == np.arange(OPS)).astype(np.float32)


def features(mixes):
  """Each choice, then each pair of choices on different edges."""
  flat = mixes.reshape(len(mixes), -1)
  first, second = np.triu_indices(EDGES * OPS, 1)
  apart = first // OPS != second // OPS
  products = flat[:, first[apart]] * flat[:, second[apart]]
  return np.concatenate([flat, products], 1).astype(float)


def ridge(mixes, labels, penalty):
  """Predicts labels; the intercept is not shrunk."""
  x = features(mixes)
  gram = (x - x.mean(0)).T @ (x - x.mean(0))
  weights = np.linalg.solve(
    gram + penalty * np.eye(len(gram)), (x - x.mean(0)).T @ labels
  )
  return lambda mixes: labels.mean() + (features(mixes) - x.mean(0)) @ weights


def quadratic(mixes):
  rng = np.random.default_rng(1)
  x = features(mixes)
  return x @ rng.normal(size=x.shape[1])


def standardised(labels):
  return (labels - labels.mean()) / labels.std()


def test_it_is_the_ridge_on_choices_and_pairs():
  labels = standardised(quadratic(MIXES) + RNG.normal(size=60))
  fitted = surrogate.fit(MIXES, labels)
  expected = ridge(MIXES, labels, fitted.penalty)(MIXES)
  found = fitted.surrogate.quality(jnp.asarray(MIXES))
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_quadratic_is_recovered(monkeypatch):
  monkeypatch.setattr(surrogate, "PENALTIES", (1e-6,))
  rng = np.random.default_rng(2)
  chosen = rng.integers(-1, OPS, (400, EDGES))
  mixes = (chosen[..., None] == np.arange(OPS)).astype(np.float32)
  labels = quadratic(mixes)
  fitted = surrogate.fit(mixes[:300], labels[:300])
  expected = (labels - labels[:300].mean()) / labels[:300].std()
  np.testing.assert_allclose(
    fitted.surrogate.quality(jnp.asarray(mixes)), expected, atol=1e-3
  )
  assert fitted.rank_correlation > 0.999


def test_leaving_one_out_is_fitting_to_the_others():
  labels = standardised(quadratic(MIXES) + RNG.normal(size=60))
  fitted = surrogate.fit(MIXES, labels)
  for i in (0, 7, 59):
    others = np.arange(60) != i
    predict = ridge(MIXES[others], labels[others], fitted.penalty)
    (expected,) = predict(MIXES[i : i + 1])
    assert fitted.left_out[i] == pytest.approx(expected, abs=1e-8)
  errors = {
    p: np.mean(
      [
        (ridge(MIXES[m], labels[m], p)(MIXES[~m])[0] - labels[~m][0]) ** 2
        for m in np.arange(60) != np.arange(60)[:, None]
      ]
    )
    for p in surrogate.PENALTIES
  }
  assert fitted.penalty == min(errors, key=errors.get)


def test_the_quality_of_a_distribution_is_the_expected_quality():
  made = surrogate.fit(MIXES, quadratic(MIXES)).surrogate
  p = RNG.dirichlet(np.ones(OPS), EDGES)
  grid = np.stack(
    np.meshgrid(*[np.arange(OPS)] * EDGES, indexing="ij"), -1
  ).reshape(-1, EDGES)
  chances = p[np.arange(EDGES), grid].prod(1)
  every = made.quality(jnp.eye(OPS)[grid])
  expected = (chances * np.asarray(every)).sum()
  np.testing.assert_allclose(made.quality(jnp.asarray(p)), expected, atol=1e-5)


def test_its_gradient_is_that_of_the_quadratic():
  made = surrogate.fit(MIXES, quadratic(MIXES)).surrogate
  mix = jnp.asarray(RNG.dirichlet(np.ones(OPS), EDGES))
  found = jax.grad(made.quality)(mix)
  expected = made.choices + 2 * (made.pairs @ mix.ravel()).reshape(EDGES, OPS)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("labels", [np.arange(9.0), np.ones(60)])
def test_too_little_to_fit_is_refused(labels):
  with pytest.raises(ValueError, match=f"given {len(labels)} architectures"):
    surrogate.fit(MIXES[: len(labels)], labels)


# In a search.

SPACE = controllers.Rows((EDGES, OPS), (0,) * EDGES)
FIXED = conditions.fixed(OPS, 1.0)
PRICED = np.zeros((EDGES, OPS), "f4")


def refuse(*given):
  raise AssertionError("neither weights nor images are for a surrogate")


PARTS = Parts(
  net=Net(lambda key: {"w": jnp.ones(3)}, refuse),
  controller=controllers.table(SPACE),
  conditions=FIXED,
  price=lambda reference, condition: condition.scale * reference,
  temperature=schedule.linear(1.0, 1.0),
  augment=refuse,
  weights_optimiser=optax.identity(),
  controller_optimiser=optax.adam(0.1),
)


def search(made, sampler, rows, reference):
  """(initial state, that after 300 steps, metrics, the logits)."""
  estimator = make_estimator(SAMPLERS[sampler], rows, 1)
  phase = Phase(estimator, weights=False, surrogate=True)
  state = init_state(PARTS, [Span(phase, 300)], jax.random.key(0))
  step = jax.jit(repeat(make_step(PARTS, Settings(300, 1), phase), 300))
  none = jnp.zeros(1, jnp.int32)
  data = SearchData(none, none, none, none, made)
  table = CostTable(jnp.asarray(reference), jnp.zeros(()))
  after, metrics = step(state, data, table)
  logits = PARTS.controller.apply(after.controller, jnp.zeros(OPS))
  return state, after, metrics, np.asarray(logits)


@pytest.mark.parametrize(
  ("sampler", "rows"),
  [("straight_through", 8), ("gumbel_softmax", None), ("softmax", None)],
)
def test_a_controller_finds_the_best_architecture(sampler, rows):
  gains = np.zeros((EDGES, OPS), "f4")
  best = (2, 0, 1, 1)
  gains[range(EDGES), best] = 1.0
  made = surrogate.Surrogate(
    jnp.zeros(()), jnp.asarray(gains), jnp.zeros((EDGES * OPS,) * 2)
  )
  state, after, metrics, logits = search(made, sampler, rows, PRICED)
  assert tuple(logits.argmax(1)) == best
  assert 1.5 < metrics["quality"] <= 4
  assert set(metrics) >= {"loss", "penalty", "expected_cost"}
  np.testing.assert_array_equal(state.weights["w"], after.weights["w"])
  # What costs more than it gains is not taken.
  expensive = 3.0 * gains * (np.arange(EDGES) == 0)[:, None]
  _, _, _, logits = search(made, sampler, rows, expensive)
  assert logits.argmax(1)[0] != best[0]
  assert tuple(logits.argmax(1)[1:]) == best[1:]

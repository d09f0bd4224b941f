"""Queries of a finished run, on a device that keeps to its table."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from msgspec.structs import replace

from hwnas_jax.core import tree
from hwnas_jax.costs import counts, table
from hwnas_jax.costs.correct import calibration
from hwnas_jax.costs.measured import Measured
from hwnas_jax.derive import capacity
from hwnas_jax.derive.judges import Judged
from hwnas_jax.derive.settle import Candidate
from hwnas_jax.io.records import Measurement
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.nets.models import make_network
from hwnas_jax.runs import finalists, query, weights
from hwnas_jax.runs.candidates import Proposals, Ranking
from hwnas_jax.runs.finalists import Finalists, Trained
from hwnas_jax.runs.query import Question
from hwnas_jax.spaces import architecture

SLOW = {"sep_conv_3x3": 0.3, "skip_connect": 0.1}


@pytest.fixture(scope="module")
def finished(run):
  """The run, as if all its sites had taken fixed times."""
  entries = tuple(
    replace(e, latency_ms=SLOW.get(e.op, 0.2)) if e.samples_ms else e
    for e in run.table.entries
  )
  steady = replace(run.table, entries=entries, calibration=None, errors=None)
  problem = dataclasses.replace(run.finished.problem, table=steady)
  return dataclasses.replace(run.finished, problem=problem)


def predicted_ms(finished, genotype):
  problem = finished.problem
  return table.predict_ms(problem.table, problem.nets.derived, genotype)


@pytest.fixture(scope="module")
def ask(finished):
  """Asks it on a device that takes a tenth longer than its table says."""

  def measure(genotype):
    return Measurement(1.1 * predicted_ms(finished, genotype), 0.01)

  def ask(latency, limits=None):
    question = Question(latency, limits=limits or {}, measure=measure)
    return query.ask(finished, question)

  return ask


def test_a_finished_run_answers_a_budget(ask, finished, tmp_path):
  genotype, certificate = ask("70%")
  assert certificate.kind == "measured"
  assert certificate.measured.median_ms <= certificate.budget.latency_ms
  assert certificate.budget.latency == "70%"
  expected_ms = predicted_ms(finished, genotype)
  assert certificate.predicted_ms == pytest.approx(expected_ms)
  np.testing.assert_allclose(certificate.simplex, np.full(3, 1 / 3), rtol=1e-6)
  # Elsewhere no network is trained.
  elsewhere = dataclasses.replace(finished, folder=RunFolder(tmp_path))
  net = finished.problem.nets.derived
  home = elsewhere.folder.answer(architecture.identity(net.space(), genotype))
  home.path.mkdir(parents=True)
  kind, accuracies = weights.provide(elsewhere, genotype, home)
  assert kind == "inherited" and 0 <= accuracies.test_accuracy <= 1
  network = make_network(net, genotype, "eval")
  wanted = jax.eval_shape(
    network.init, jax.random.key(0), jnp.zeros((1, *net.image))
  )
  with np.load(home.weights) as arrays:
    sizes = [w.size for name, w in arrays.items() if "params/" in name]
  assert sum(sizes) == tree.count(wanted["params"])
  data = finished.folder.settings().origin.data
  infer = jax.jit(weights.infer_with(net, genotype, home.weights, data))
  test = finished.dataset.test
  right = infer(test.images).argmax(-1) == test.labels
  assert accuracies.test_accuracy == pytest.approx(float(right.mean()))


def test_a_query_keeps_every_limit(ask, finished):
  net = finished.problem.nets.derived
  cost = functools.partial(
    counts.genotype_cost,
    net,
    site_cost=counts.site_costs(net.space(), counts.params),
  )
  skips = net.ops.index("skip_connect")
  limit = cost((skips,) * len(net.space().choices))
  genotype, certificate = ask("100%", {"params": limit})
  assert cost(genotype) == limit
  assert certificate.budget.limits == {"params": limit}
  with pytest.raises(ValueError, match="no architecture keeps .*'params'"):
    ask("100%", {"params": limit - 1})
  with pytest.raises(ValueError, match="unknown limit"):
    ask("100%", {"flops": 1.0})


def test_a_budget_that_nothing_keeps_is_refused(ask):
  with pytest.raises(ValueError, match="no architecture keeps 0.0001 ms"):
    ask("0.0001ms")


def test_another_device_is_predicted_with_a_margin_or_refused(finished):
  foreign = replace(finished.problem.table, fingerprint="a-phone")
  with pytest.raises(ValueError, match="a-phone is not calibrated"):
    query.ask(finished, Question("80%", foreign))
  rng, net = np.random.default_rng(0), finished.problem.nets.derived
  space = net.space()
  genotypes = [architecture.random_genotype(space, rng) for _ in range(20)]
  exact_ms = [table.predict_ms(foreign, net, g) for g in genotypes]
  calibrated = calibration.calibrate(
    net,
    table.raw_costs(foreign),
    Measured(genotypes, np.asarray(exact_ms) * rng.normal(1.5, 0.05, 20)),
  )
  phone = replace(foreign, calibration=calibrated)
  _, certificate = query.ask(finished, Question("80%", phone))
  assert certificate.kind == "predicted" and certificate.measured is None
  assert certificate.table.fingerprint == "a-phone"
  bound_ms = certificate.predicted_ms * certificate.margin.ratio
  assert bound_ms <= certificate.budget.latency_ms
  assert certificate.margin.networks == 20


def test_memory_is_of_a_network_that_is_compiled_here(finished, ask):
  with pytest.raises(ValueError, match="memory_mb .*`measure` measures elsew"):
    ask("80%", {"memory_mb": 100.0})
  phone = replace(finished.problem.table, fingerprint="a-phone")
  question = Question("80%", phone, {"memory_mb": 100.0})
  with pytest.raises(ValueError, match="memory_mb .*table is of a-phone: ask"):
    query.ask(finished, question)


def test_too_much_memory_is_infinitely_slow(finished):
  net = finished.problem.nets.derived
  genotype = (0,) * len(net.space().choices)
  measured = query.measure_here(net, 1, genotype, memory_mb=1e-6)
  assert measured == Measurement(np.inf, 0.0)


@pytest.mark.parametrize(
  ("spreads", "kept"),
  [
    ((0.05,), 0),
    ((0.3, 0.1), 1),  # steady enough: it is not measured once more
    ((0.3, 0.2, 0.5), 1),  # the steadiest, though the first was faster
  ],
)
def test_a_busy_machine_is_asked_again(finished, monkeypatch, spreads, kept):
  measurements = [
    Measurement(1.0 + i, spread * (1.0 + i)) for i, spread in enumerate(spreads)
  ]
  coming = iter(measurements)
  monkeypatch.setattr(
    query.timing,
    "measure_networks",
    lambda networks, repeats: dict.fromkeys(networks, next(coming)),
  )
  net = finished.problem.nets.derived
  genotype = (0,) * len(net.space().choices)
  assert query.measure_here(net, 1, genotype) == measurements[kept]
  assert next(coming, None) is None


def test_a_fraction_is_of_what_the_largest_takes_here(finished, monkeypatch):
  """A table that is not calibrated may be off by any factor."""

  def slow(net, batch_size, genotype, *, dtype, memory_mb):
    return Measurement(1.6 * predicted_ms(finished, genotype), 0.01)

  monkeypatch.setattr(query, "measure_here", slow)
  measured = {
    genotype: Measurement(1.6 * predicted_ms(finished, genotype), 0.01)
    for genotype in finished.measured
  }
  here = dataclasses.replace(finished, measured=measured)
  problem = finished.problem
  _, largest_ms = query.reach_ms(
    problem.nets.derived, problem.table, problem.config.derive.rule
  )
  _, certificate = query.ask(here, Question("60%"))
  assert certificate.budget.latency_ms == pytest.approx(0.96 * largest_ms)
  assert certificate.measured.median_ms <= certificate.budget.latency_ms


def test_a_function_is_a_finalist_once(finished, monkeypatch):
  """The answer's ranking and the last one may hold different forms of it."""
  length = len(finished.problem.nets.derived.space().choices)
  answer, form, second = (
    Candidate((first, last, *[0] * (length - 2)), place, 1.0, "capacity")
    for place, (first, last) in enumerate([(0, 0), (1, 0), (0, 1)], 1)
  )
  # As if the first choice never reached the output.
  monkeypatch.setattr(capacity, "reaching", lambda net, genotype: genotype[1:])
  rankings = iter([[answer], [form, second]])

  def within(self, limit_ms):
    pool = next(rankings)
    return Ranking(pool, [c.genotype for c in pool], Judged({}, {}), {})

  monkeypatch.setattr(Proposals, "within", within)
  trained = []

  def train(finished, asked, genotypes):
    trained.extend(genotypes)
    return [Trained(g, 20, 1.0, 0.5) for g in genotypes]

  monkeypatch.setattr(finalists, "train", train)
  half = lambda genotype: Measurement(0.5, 0.01)  # noqa: E731
  question = Question("1ms", measure=half, finalists=Finalists(3, 20))
  query.ask(finished, question)
  assert trained == [answer.genotype, second.genotype]


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf])
def test_a_limit_is_a_number(value):
  with pytest.raises(ValueError, match="params must be > 0 and finite, got"):
    Question("5ms", limits={"params": value})

"""Judges: each against values that are computed without the package."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.core.types import ABSENT, Paths
from hwnas_jax.derive import capacity, judges, one_path
from hwnas_jax.derive.judges import Draw, Evidence, judge
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.nets import models, probe
from hwnas_jax.nets.choice import Choice
from hwnas_jax.nets.norm import BatchNorm
from hwnas_jax.nets.paths import run_paths
from hwnas_jax.nets.supernet import Net, run_op
from hwnas_jax.nets.tracing import trace
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.spec import Site

# Two choices between a convolution and nothing, then ReLU, pool and a matrix.
IMAGE, CLASSES, BATCH = (4, 4, 2), 3, 5
SITE = Site("nor_conv_3x3", *IMAGE, 2)
BRANCHES = [lambda w, x: run_op(SITE, w, x), lambda w, x: x]
SMALL = types.SimpleNamespace(
  ops=("conv", "pass"),
  image=IMAGE,
  live=lambda genotype: tuple(op != ABSENT for op in genotype),
)


def small_init(key):
  keys = jax.random.split(key, 3)
  kernels = [jax.random.normal(k, (3, 3, 2, 2)) for k in keys[:2]]
  return {
    "layers": [{"kernel": kernel} for kernel in kernels],
    "linear": jax.random.normal(keys[2], (2, CLASSES)),
  }


def small_apply(weights, mix, images, paths=None, identity=None):
  del identity
  x = images
  for index, w in enumerate(weights["layers"]):
    path = jax.tree.map(lambda p, i=index: p[i], paths)
    x = run_paths(BRANCHES, w, x, mix[index], path)
  return probe.relu(x).mean((1, 2)) @ weights["linear"]


NET = Net(small_init, small_apply)
PATHS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def plain_conv(x, w):
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return sum(
    padded[:, i : i + 4, j : j + 4] @ w[i, j]
    for i in range(3)
    for j in range(3)
  )


def plain(weights, genotype, x, *, inputs=None):
  """The network of a path; `inputs` gets what its ReLUs see."""
  inputs = [] if inputs is None else inputs
  for op, w in zip(genotype, weights["layers"], strict=True):
    if op == 0:
      inputs.append(x)
      x = plain_conv(jnp.maximum(x, 0), w["kernel"])
      centred = x - x.mean((0, 1, 2), keepdims=True)
      variance = jnp.square(centred).mean((0, 1, 2), keepdims=True)
      x = centred / jnp.sqrt(variance + 1e-5)
  inputs.append(x)
  return jnp.maximum(x, 0).mean((1, 2)) @ weights["linear"]


@pytest.fixture(scope="module")
def evidence():
  keys = jax.random.split(jax.random.key(0), 2)
  images = jax.random.normal(keys[0], (2 * BATCH, *IMAGE))
  draws = judges.fresh(NET, keys[1], images, 2)
  labels = jnp.arange(BATCH) % CLASSES
  shared = SharedWeights(NET, draws[1].weights, draws[1].images, labels)
  return Evidence(SMALL, NET, draws, shared)


def test_the_flow_of_a_chain_is_its_output_times_its_layers(evidence):
  weights = jax.tree.map(jnp.abs, evidence.draws[0].weights)
  expected = []
  for genotype in PATHS:
    x = jnp.ones((1, *IMAGE))
    chosen = [op == 0 for op in genotype]
    for runs, w in zip(chosen, weights["layers"], strict=True):
      x = plain_conv(x, w["kernel"]) if runs else x
    output = (x.mean((1, 2)) @ weights["linear"]).sum()
    # R is linear in each layer: the layer's sum of w dR/dw is R.
    expected.append(np.log(output * (sum(chosen) + 1)))
  scores = judges.synflow(evidence, PATHS)
  assert scores.dtype == np.float64
  np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_a_flow_may_be_beyond_float32(evidence):
  draw = evidence.draws[0]
  large = jax.tree.map(lambda w: 1e25 * w, draw.weights)
  larger = evidence._replace(draws=[Draw(large, draw.images)])
  rise = judges.synflow(larger, PATHS) - judges.synflow(evidence, PATHS)
  layers = np.array([3, 2, 2, 1])
  np.testing.assert_allclose(rise, layers * np.log(1e25), rtol=1e-5)


def test_nwot_reads_the_codes_of_the_relus(evidence):
  weights, images = evidence.draws[0]
  expected = []
  for genotype in PATHS:
    inputs = []
    plain(weights, genotype, images, inputs=inputs)
    codes = [np.asarray(x > 0).reshape(BATCH, -1) for x in inputs]
    c = np.concatenate(codes, 1).astype(int)
    kernel = c @ c.T + (1 - c) @ (1 - c).T
    expected.append(np.linalg.slogdet(kernel).logabsdet)
  np.testing.assert_allclose(judges.nwot(evidence, PATHS), expected, rtol=1e-4)


def test_jacov_is_the_mean_over_the_draws(evidence):
  expected = np.zeros((2, len(PATHS)))
  for d, (weights, images) in enumerate(evidence.draws):
    for i, genotype in enumerate(PATHS):

      def total(x, weights=weights, genotype=genotype):
        return plain(weights, genotype, x).sum(0)  # of each class

      jacobian = jax.jacobian(total)(images).sum(0).reshape(BATCH, -1)
      values = np.linalg.eigvalsh(np.corrcoef(np.asarray(jacobian, float)))
      expected[d, i] = -(np.log(values + 1e-5) + 1 / (values + 1e-5)).sum()
  scores = judges.jacov(evidence, PATHS)
  np.testing.assert_allclose(scores, expected.mean(0), rtol=1e-2)


def test_the_loss_is_that_of_the_path(evidence):
  """All images are one batch."""
  images, labels = evidence.shared.images, evidence.shared.labels
  expected = []
  for genotype in PATHS:
    logits = plain(evidence.shared.weights, genotype, images)
    log_p = jax.nn.log_softmax(logits)
    expected.append(log_p[jnp.arange(len(labels)), labels].mean())
  scores = judges.shared_loss(evidence, PATHS)
  np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_the_loss_of_a_darts_path_is_that_of_its_mix():
  """Also where choices are absent."""
  net = Darts(("skip_connect", "avg_pool_3x3"), 2, 2, 4, (8, 8, 1), 3)
  supernet, num_choices = models.make_supernet(net), net.space().shape[0]
  weights = jax.jit(supernet.init)(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
  labels = jnp.arange(6) % 3
  rows = np.random.default_rng(0).integers(ABSENT, 2, (20, num_choices))
  genotypes = [tuple(int(o) for o in row) for row in rows]
  shared = SharedWeights(supernet, weights, images, labels)
  evidence = Evidence(net, supernet, [Draw(weights, images)], shared)
  scores = judges.shared_loss(evidence, genotypes)
  assert scores.shape == (20,) and np.ptp(scores) > 1e-3
  apply = jax.jit(supernet.apply)
  for i in (0, 17):
    mix = np.float32(rows[i][:, None] == np.arange(2))
    log_p = jax.nn.log_softmax(apply(weights, mix, images))
    expected = log_p[jnp.arange(6), labels].mean()
    np.testing.assert_allclose(scores[i], expected, rtol=1e-4)


CELLS = NasBench201(1, 4, (8, 8, 3), 10)
NONE, SKIP, CONV1, CONV3 = range(4)
LIVE = (CONV3, NONE, SKIP, CONV1, CONV3, NONE)
# Node 1 and 2 have an input and no way to the output, but for 0->3.
DEAD = (CONV3, CONV1, CONV3, CONV1, NONE, NONE)
BARE = (NONE, NONE, NONE, CONV1, NONE, NONE)


@pytest.fixture(scope="module")
def cells():
  net = models.make_supernet(CELLS)
  keys = jax.random.split(jax.random.key(1), 2)
  images = jax.random.normal(keys[0], (4, *CELLS.image))
  return Evidence(CELLS, net, judges.fresh(net, keys[1], images, 1))


def test_macs_are_of_what_reaches_the_output(cells):
  counted = judge(["macs"], cells, [BARE, DEAD, LIVE]).scores["macs"]
  # A stage halves both sides and doubles the channels: 1x1 convolutions are
  # 8 * 8 * 4 * 4 a stage, 3x3 nine times that.
  one = 3 * 8 * 8 * 4 * 4
  assert counted[0] == counted[1]
  # LIVE has three convolutions: 0->1 and 1->3 are 3x3.
  assert counted[2] - counted[0] == 2 * 9 * one


def test_what_does_not_run_changes_no_score(cells):
  names = ["synflow", "jacov", "nwot"]
  before = one_path._run._cache_size()
  scores, left_out = judge(names, cells, [DEAD, LIVE, BARE, LIVE])
  assert left_out == {}
  assert one_path._run._cache_size() - before == len(names)
  for values in scores.values():
    assert np.isfinite(values).all()
    assert values[0] == values[2] != values[1] == values[3]
  alone = judge(names, cells, [LIVE]).scores
  assert one_path._run._cache_size() - before == len(names)
  for name in names:
    assert alone[name][0] == scores[name][1]


def test_a_path_and_its_network_have_the_same_codes_and_flow(cells):
  weights, images = cells.draws[0]
  module = models.make_network(CELLS, LIVE, "search")
  params = models.inherit(CELLS, LIVE, weights)

  def network(weights, images):
    return module.apply({"params": weights}, images)[0]

  for program in (judges._kernel, judges._correlation):
    of_network = jax.jit(program, static_argnums=0)(network, (params, images))
    living = [capacity.reaching(CELLS, LIVE)]
    of_path = one_path.evaluate(
      program, cells.net, 5, living, (weights, images)
    )
    for a, b in zip(*map(jax.tree.leaves, (of_path, of_network)), strict=True):
      np.testing.assert_allclose(a[0], b, rtol=2e-3, atol=1e-4)


def test_judging_changes_no_ordinary_trace(evidence):
  weights, images = evidence.draws[0]
  paths = Paths(jnp.zeros((2, 1), jnp.int32))

  def total(mix):
    x = probe.relu6(images)
    return NET.apply(weights, mix, x, paths).sum()

  def traced(function=total):
    return str(jax.make_jaxpr(function)(jnp.ones((2, 2))))

  def counting(mix):
    with probe.counting_relus(jax.new_ref(jnp.zeros((BATCH, BATCH)))):
      return total(mix)

  before = traced()
  with probe.without_norm():
    off = traced()
  counted = traced(counting)
  assert before == traced() and len({before, off, counted}) == 3
  assert "clamp" in before and probe.COUNTED not in before
  relus = [jax.make_jaxpr(f)(images) for f in (probe.relu, jax.nn.relu)]
  assert str(relus[0]) == str(relus[1])


def test_a_relu6_is_a_relu_to_judges():
  x = jnp.array([[-1.0, 3.0, 9.0], [2.0, -3.0, 9.0]])
  with probe.without_norm():
    np.testing.assert_array_equal(probe.relu6(x), np.maximum(x, 0))

  equal = jax.new_ref(jnp.zeros((2, 2)))
  with probe.counting_relus(equal):
    assert probe.relu6(x).sum() == 3 + 6 + 2 + 6
  np.testing.assert_array_equal(equal[...], [[3, 1], [1, 3]])


class Model(nn.Module):
  """One choice of a user's model; what it has in it is up to the test."""

  mode: str
  activate = staticmethod(nn.relu)
  norm = staticmethod(lambda mode, x: BatchNorm(mode)(x))

  @nn.compact
  def __call__(self, x):
    ops = {"conv3": nn.Conv(2, (3, 3)), "conv1": nn.Conv(2, (1, 1))}
    x = Choice(ops, name="layer")(x)
    x = self.activate(self.norm(self.mode, x))
    return nn.Dense(3)(x.mean((1, 2)))


def reasons(model=None, spec=None, batch=BATCH):
  spec = spec or trace(model, IMAGE, CLASSES)
  draw = Draw(None, jnp.zeros((batch, *IMAGE)))
  evidence = Evidence(spec, None, [draw])
  reasons = {n: j.applies(evidence) for n, j in judges.JUDGES.items()}
  return {name: reason for name, reason in reasons.items() if reason}


def test_judges_that_do_not_apply_say_why():
  class Own(Model):
    activate = staticmethod(probe.relu)

  class Smooth(Model):
    activate = staticmethod(nn.gelu)
    norm = staticmethod(lambda mode, x: nn.LayerNorm()(x))

  shared = {"shared_loss": "there are no trained weights of a supernet"}
  assert reasons(Own) == shared
  assert "use hwnas_jax.nets.probe.relu" in reasons(Model)["nwot"]
  smooth = reasons(Smooth)
  assert smooth["nwot"] == "the model has no ReLU"
  assert "rsqrt, tanh" in smooth["synflow"]
  assert "has one" in reasons(Own, batch=1)["jacov"]
  darts = Darts(("skip_connect", "sep_conv_3x3"), 2, 2, 4, (8, 8, 2), 3)
  assert set(reasons(spec=darts)) == {"jacov", "shared_loss"}


def test_weights_of_each_condition_compare_nothing(evidence):
  folded = evidence.shared._replace(fold=lambda weights, features: weights)
  names = ["shared_loss"]
  judged = judge(names, evidence._replace(shared=folded), PATHS)
  assert "cannot be compared" in judged.left_out["shared_loss"]


def test_judges_without_a_score_or_a_name(evidence):
  alone = evidence._replace(shared=None)
  judged = judge(["shared_loss"], alone, PATHS)
  assert judged.scores == {} and "shared_loss" in judged.left_out
  with pytest.raises(ValueError, match="no judge is called 'zen': synflow"):
    judge(["zen"], evidence, PATHS)
  with pytest.raises(ValueError, match="do not make 3 equal"):
    judges.fresh(NET, jax.random.key(0), jnp.zeros((4, *IMAGE)), 3)
  twins = jnp.concatenate([evidence.draws[0].images[:1]] * 2)
  same = evidence._replace(draws=[evidence.draws[0]._replace(images=twins)])
  assert not np.isfinite(judges.nwot(same, PATHS)).any()


def test_the_jacobian_of_a_constant_has_no_score(evidence):
  """Batch-normalised features have mean 0, whatever the images are."""

  def apply(weights, mix, images, paths=None, identity=None):
    x = run_op(SITE, weights["layers"][0], images)
    return x.mean((1, 2)) @ weights["linear"]

  constant = evidence._replace(net=Net(small_init, apply))
  assert np.isnan(judges.jacov(constant, PATHS[:1])).all()

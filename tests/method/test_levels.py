"""Two levels in one step: whose examples, whose sample, which gradient."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.core.compile import repeat
from hwnas_jax.core.types import Condition
from hwnas_jax.method import (
  conditions,
  controllers,
  min_norm,
  phases,
  price,
  schedule,
)
from hwnas_jax.method.estimators import reparameterised
from hwnas_jax.method.path_estimators import two_gates
from hwnas_jax.method.phases import Phase
from hwnas_jax.method.relaxed import gumbel_softmax, softmax
from hwnas_jax.method.state import CostTable, SearchData
from hwnas_jax.method.step import Parts, Settings, init_state, make_step
from hwnas_jax.nets.supernet import Net

ROWS = controllers.Rows((2, 4), (0, 1))
COLUMNS = (0, 1, 2, 3)
REFERENCE = np.random.default_rng(1).uniform(0.5, 2.0, ROWS.shape)
TABLE = CostTable(jnp.asarray(REFERENCE, jnp.float32), jnp.zeros(()))
RATE, CONTROLLER_RATE = 7.0, 0.9
SOFTMAX, GUMBEL = reparameterised(softmax), reparameterised(gumbel_softmax)


def scalar_net():
  """Logits (w * mean mix of column 0 * x, 0), with x the pixel."""

  def apply(weights, mix, images):
    x = images[:, 0, 0, 0]
    first = mix[..., 0].mean(-1)
    return jnp.stack([weights["w"] * first * x, jnp.zeros_like(x)], -1)

  return Net(lambda key: {"w": jnp.full((), 2.0)}, apply)


def make_parts(**changes):
  return Parts(
    net=scalar_net(),
    controller=controllers.table(ROWS),
    conditions=conditions.fixed(4, 1.0),
    price=lambda reference, condition: 0.0 * reference,
    temperature=schedule.linear(1.0, 1.0),
    augment=lambda key, images: images.astype(jnp.float32),
    weights_optimiser=optax.sgd(RATE),
    controller_optimiser=optax.sgd(CONTROLLER_RATE),
  )._replace(**changes)


def make_data(weights_pixel, controller_pixel):
  """A level whose pixels are 0 gets no gradient from its examples."""
  values = jnp.repeat(jnp.array([weights_pixel, controller_pixel], "uint8"), 4)
  index = jnp.arange(8, dtype=jnp.int32)
  images, labels = values.reshape(8, 1, 1, 1), jnp.zeros(8, jnp.int32)
  return SearchData(images, labels, index[:4], index[4:])


def run(parts, phase, count=1, data=None, table=TABLE):
  """[count + 1] states, from the fresh one."""
  states = [init_state(parts, phases.plan(phase, 100), jax.random.key(0))]
  step = jax.jit(make_step(parts, Settings(100, 4), phase))
  for _ in range(count):
    state, _ = step(
      states[-1], make_data(1, 4) if data is None else data, table
    )
    states.append(state)
  return states


# Examples and gradients.


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("pixels", [(1, 0), (0, 1)])
def test_each_level_reads_its_own_examples(joint, pixels):
  phase = Phase(SOFTMAX, joint=joint)
  before, after = run(make_parts(), phase, data=make_data(*pixels))
  moved = after.weights["w"] != before.weights["w"]
  assert moved == (pixels[0] > 0)
  moved = (after.controller["logits"] != before.controller["logits"]).any()
  assert moved == (pixels[0 if joint else 1] > 0)


def cross_entropy(w, logits, x):
  first = jax.nn.softmax(logits)[:, 0].mean()
  return -jax.nn.log_sigmoid(w * first * x)


def ahead(w, logits, train, valid):
  """The loss on `valid` of the weights after their step on `train`."""
  after = w - RATE * jax.grad(cross_entropy)(w, logits, train)
  return cross_entropy(after, logits, valid)


LOSSES = {
  "joint": lambda w, logits: cross_entropy(w, logits, 1.0),
  "first": lambda w, logits: cross_entropy(w, logits, 4.0),
  "ahead": lambda w, logits: ahead(w, logits, 1.0, 4.0),
  "the wrong way": lambda w, logits: ahead(w, logits, 4.0, 1.0),
}


@pytest.mark.parametrize("order", ["joint", "first", "exact", "difference"])
def test_a_step_by_hand(order):
  """Bilevel: the weights answer to the controller's new logits."""
  joint = order == "joint"
  phase = Phase(SOFTMAX, joint=joint, order="first" if joint else order)
  before, found = run(make_parts(), phase)
  w, logits = before.weights["w"], before.controller["logits"]
  stepped = found.controller["logits"]
  slope = (logits - stepped) / CONTROLLER_RATE
  slopes = {n: jax.grad(loss, 1)(w, logits) for n, loss in LOSSES.items()}
  right = order if order in LOSSES else "ahead"
  np.testing.assert_allclose(slope, slopes.pop(right), rtol=2e-3, atol=1e-6)
  for other in slopes.values():
    assert jnp.linalg.norm(slope - other) > 0.03 * jnp.linalg.norm(slope)
  answered = logits if joint else stepped
  moved = w - RATE * jax.grad(cross_entropy)(w, answered, 1.0)
  np.testing.assert_allclose(found.weights["w"], moved, rtol=1e-5)
  assert abs(jax.grad(cross_entropy)(w, logits - stepped, 1.0)) > 0.01


# Samples.


@pytest.mark.parametrize("same_key", [False, True])
def test_the_levels_share_their_sample_where_they_share_the_key(same_key):
  seen, net = {}, scalar_net()

  def apply(weights, mix, images):
    see = lambda pixel, mix: seen.update({int(pixel): np.asarray(mix)})  # noqa: E731
    jax.debug.callback(see, images.mean(), mix)
    return net.apply(weights, mix, images)

  parts = make_parts(
    net=Net(net.init, apply), controller_optimiser=optax.sgd(0.0)
  )
  run(parts, Phase(GUMBEL, same_key=same_key))
  jax.effects_barrier()
  assert set(seen) == {1, 4}
  assert np.array_equal(seen[1], seen[4]) == same_key


@pytest.mark.parametrize("joint", [False, True])
def test_two_gates_leave_the_other_shares_alone(joint):
  """Whatever Adam remembers of the pairs of earlier steps."""

  def apply(weights, mix, images, paths):
    x = images[:, 0, 0, 0] * (weights["w"] * mix).sum()
    return jnp.stack([x, jnp.zeros_like(x)], -1)

  w = jnp.arange(8.0).reshape(2, 4) / 8
  parts = make_parts(
    net=Net(lambda key: {"w": w}, apply),
    weights_optimiser=optax.sgd(0.1),
    controller_optimiser=optax.adam(0.1, b1=0.5),
  )
  phase = Phase(two_gates(), joint=joint, every=2)
  states = run(parts, phase, 5)
  shares = [np.asarray(jax.nn.softmax(s.controller["logits"])) for s in states]
  moved = np.abs(np.diff(shares, axis=0)) > 1e-6  # [steps, E, O]
  assert not moved[1::2].any()
  np.testing.assert_array_equal(moved[::2].sum(-1), 2)
  # Other pairs than the first were drawn: their moments are old.
  assert (moved.any(0).sum(-1) > 2).any()


# Devices.

POINTS = conditions.draw_devices(jax.random.key(0), 3, 4)
SCALES = jnp.array([0.5, 2.0, 5.0])
DISTRIBUTION = conditions.devices(POINTS, 0.1, 10.0)


def controllers_gradient(drawn):
  """What SGD took off the controller, per learning rate."""
  parts = make_parts(
    conditions=drawn,
    controller=controllers.mlp(ROWS, drawn, (4,)),
    price=price.cone(COLUMNS),
    weights_optimiser=optax.sgd(0.1),
  )
  before, after = (state.controller for state in run(parts, Phase(GUMBEL)))
  return jax.tree.map(lambda a, b: (a - b) / CONTROLLER_RATE, before, after)


def test_devices_share_the_direction_of_least_norm():
  """That of the gradients that they have one at a time."""
  every = Condition(POINTS, SCALES)
  found = controllers_gradient(DISTRIBUTION._replace(each=lambda key: every))

  @jax.jit
  def alone(*one):
    drawn = DISTRIBUTION._replace(each=None, draw=lambda key: Condition(*one))
    return controllers_gradient(drawn)

  each = [alone(*one) for one in zip(POINTS, SCALES, strict=True)]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
  flat = lambda tree: jax.flatten_util.ravel_pytree(tree)[0]  # noqa: E731
  wanted = flat(min_norm.combine(stacked))
  size = jnp.linalg.norm(wanted)
  assert jnp.linalg.norm(flat(found) - wanted) < 1e-3 * size
  mean = flat(jax.tree.map(lambda leaf: leaf.mean(0), stacked))
  assert jnp.linalg.norm(mean - wanted) > 0.1 * size


def test_the_scales_of_devices_are_drawn_by_a_key_of_their_own():
  keys = {"scales": [], "sample": []}

  def keep(name, key):
    data = jax.random.key_data(jax.random.clone(key))
    jax.debug.callback(lambda k: keys[name].append(tuple(map(int, k))), data)

  def each(key):
    keep("scales", key)
    return DISTRIBUTION.each(key)

  def sampler(key, logits, temperature, rows):
    keep("sample", key)
    return gumbel_softmax(key, logits, temperature, rows)

  parts = make_parts(
    conditions=DISTRIBUTION._replace(each=each),
    controller=controllers.mlp(ROWS, DISTRIBUTION, (4,)),
  )
  run(parts, Phase(reparameterised(sampler)))
  jax.effects_barrier()
  assert len(keys["scales"]) == 1 and len(keys["sample"]) == 4
  assert not set(keys["scales"]) & set(keys["sample"])


def test_a_huge_price_leaves_the_least_expensive_operation():
  """One level, a huge kappa: each S gets argmin S."""
  drawn = conditions.simplex(4)
  parts = make_parts(
    conditions=drawn,
    controller=controllers.mlp(ROWS, drawn, (32,)),
    price=price.paper(COLUMNS, 1e4),
    controller_optimiser=optax.adam(0.02),
  )
  phase = Phase(GUMBEL, joint=True)
  state = init_state(parts, phases.plan(phase, 100), jax.random.key(0))
  steps = jax.jit(repeat(make_step(parts, Settings(400, 4), phase), 400))
  ones = TABLE._replace(reference=jnp.ones(ROWS.shape))
  state, _ = steps(state, make_data(1, 3), ones)
  keys = jax.random.split(jax.random.key(1), 400)
  points = jax.vmap(lambda k: drawn.draw(k).simplex)(keys)
  logits = jax.vmap(parts.controller.apply, (None, 0))(state.controller, points)
  low = np.sort(points, 1)
  clear = low[:, 1] - low[:, 0] > 0.1
  assert clear.sum() > 100
  wanted = np.repeat(points.argmin(1)[:, None], 2, 1)
  np.testing.assert_array_equal(logits.argmax(-1)[clear], wanted[clear])

"""One, two and eight devices compute the same, and share checkpoints."""

import functools

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pytest
from toy_config import small

import hwnas_jax as hw
from hwnas_jax.config import method, training
from hwnas_jax.config import problem as problems
from hwnas_jax.core import devices
from hwnas_jax.data import embedded
from hwnas_jax.io import checkpoint, records
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.train import step as train_step

pytestmark = pytest.mark.slow


def problem(count, **fields):
  made = small(
    **{"cost__name": "macs", "derive__rule": "argmax", "data__pad": 1} | fields,
    space__num_cells=1,
    search__num_steps=20,
    search__batch_size=16,
    train__batch_size=16,
    devices=count,
  )
  dataset = embedded.digits()
  return problems.make(made, problems.make_nets(made, dataset), None)


class Search:
  """A search on some devices; `run` makes `steps` steps from a state."""

  def __init__(self, count, steps, **fields):
    fields["search__steps_per_dispatch"] = steps
    made, dataset = problem(count, **fields), embedded.digits()
    parts, settings = method.make_parts(made, dataset)
    init, self.steps = method.make_search(made.config, parts, settings)
    self.init = lambda: init(jax.random.key(0))
    data, _ = method.make_search_data(made.config, dataset)
    mesh = devices.make_mesh(count)
    self.inputs = devices.place((data, made.costs), mesh)

  def run(self, state):
    return self.steps(state, *self.inputs)


def host(tree):
  """Its numbers as one vector."""
  return np.concatenate(
    [np.ravel(np.asarray(x)) for x in jax.tree.leaves(tree)]
  )


@functools.cache
def ten_steps(count):
  """A search of which a dispatch makes ten steps."""
  return Search(count, 10)


@functools.cache
def first_step(count, sampler):
  """(the weights' gradient and the loss of a first step)."""
  options = {
    "sampler__name": sampler,
    "sampler__per_example": sampler == "gumbel_softmax",
    "search__weights_decay": 0.0,
  }
  search = Search(count, 1, **options)
  state, metrics = search.run(search.init())
  where = jax.tree.leaves(state.weights)[0].sharding.device_set
  assert len(where) == count
  # The momentum of a first step is its gradient.
  return host(state.weights_optimiser), float(metrics["loss"])


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("sampler", ["gumbel_softmax", "gdas"])
def test_a_step_has_the_gradients_of_one_device(sampler, count):
  expected, loss = first_step(1, sampler)
  found, loss_there = first_step(count, sampler)
  assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
  assert loss_there == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("count", [2, 8])
def test_twenty_steps_have_the_losses_of_one_device(count):
  losses = {}
  for number in (1, count):
    search = ten_steps(number)
    state, first = search.run(search.init())
    _, second = search.run(state)
    losses[number] = [float(first["loss"]), float(second["loss"])]
  np.testing.assert_allclose(losses[count], losses[1], rtol=1e-3)


@pytest.mark.parametrize(("before", "after"), [(8, 1), (1, 8)])
def test_a_checkpoint_goes_on_with_another_number_of_devices(
  tmp_path, before, after
):
  first, then = ten_steps(before), ten_steps(after)
  half, _ = first.run(first.init())
  checkpoint.save(tmp_path, 10, half, {})
  kept = host(half.weights)
  restored = checkpoint.restore_latest(tmp_path, then.init()).state
  np.testing.assert_array_equal(host(restored.weights), kept)
  _, found = then.run(restored)
  _, expected = first.run(half)
  assert float(found["loss"]) == pytest.approx(
    float(expected["loss"]), rel=1e-3
  )


@pytest.mark.parametrize("parts", [1, 2])
def test_a_training_step_is_that_of_one_device(parts):
  def trained(count):
    made, dataset = problem(count, train__parts=parts), embedded.digits()
    net = made.nets.derived
    genotype = (2,) * len(net.space().choices)
    network, optimiser, step = training.make_training(
      made.config, dataset, net, genotype
    )
    mesh = devices.make_mesh(count)
    state = train_step.init_state(network, optimiser, jax.random.key(0))
    placed = devices.place((state, dataset.train), mesh)
    options = devices.everywhere(mesh)
    state, metrics = jax.jit(step, **options)(*placed)
    return host((state.params, state.stats)), float(metrics["loss"])

  (expected, loss), (found, loss_there) = trained(1), trained(8)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  assert loss_there == pytest.approx(loss, rel=1e-5)


def test_a_batch_lies_on_all_devices():
  mesh = devices.make_mesh(8)
  x = jax.jit(lambda x: devices.split(x, mesh))(jnp.arange(16.0))
  assert {shard.data.shape for shard in x.addressable_shards} == {(2,)}
  assert len(devices.place(jnp.ones(3), mesh).addressable_shards) == 8
  assert devices.gather(x, mesh).sharding.device_set == {jax.devices()[0]}


def test_more_devices_than_there_are_is_refused():
  with pytest.raises(ValueError, match="config.devices is 9, and JAX has 8"):
    devices.make_mesh(9)


def test_a_run_of_more_devices_is_read_on_one(example_run):
  folder = example_run / "runs" / "digits"
  before = hw.load(folder).query("1000ms").network.genotype
  stored = RunFolder(folder).settings()
  config = {**stored.config, "devices": 16}
  changed = msgspec.structs.replace(stored, config=config)
  records.write(folder / "config.json", changed)
  run = hw.load(folder)
  assert run.config.devices == 1
  assert run.query("1000ms").network.genotype == before


def test_more_devices_than_there_are_stop_a_run_before_it_begins(tmp_path):
  given = hw.load_config("digits:smoke")
  given.update(devices=16)
  with pytest.raises(ValueError, match="config.devices is 16, and JAX has 8"):
    hw.search(given, workdir=tmp_path / "run")
  assert not (tmp_path / "run").exists()
  given.devices = 3
  with pytest.raises(ValueError, match="search.batch_size .* multiple"):
    hw.search(given, workdir=tmp_path / "run")

"""From a config to objects: shapes, references, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.config import checks, method, pricing
from hwnas_jax.config import fields as configuration
from hwnas_jax.data import embedded
from hwnas_jax.method.state import CostTable
from hwnas_jax.spaces.darts import make_space
from hwnas_jax.spaces.mobile import SKELETONS, Chain
from hwnas_jax.spaces.nasbench201 import NasBench201


def small(**fields):
  config = configuration.default()
  config.space.update(ops="three", num_cells=3, num_nodes=1, channels=4)
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return config


@pytest.mark.parametrize(
  ("name", "image"),
  [
    ("digits", (8, 8, 1)),
    ("cifar10", (32, 32, 3)),
    ("fashion_mnist", (28, 28, 1)),
  ],
)
def test_shapes_are_known_without_the_data(name, image):
  net, derived = method.make_nets(small(data__name=name))
  assert net == derived and net.image == image and net.num_classes == 10


def test_shapes_of_own_images_are_read(tmp_path):
  path = tmp_path / "own.npz"
  labels = np.arange(6) % 3
  images = np.random.default_rng(0).integers(0, 255, (6, 12, 10, 2), np.uint8)
  arrays = {"x_train": images, "x_test": images}
  np.savez(path, y_train=labels, y_test=labels, **arrays)
  net, _ = method.make_nets(small(data__name=f"npz:{path}"))
  assert net.image == (12, 10, 2) and net.num_classes == 3


def test_the_derived_network_may_be_larger():
  net, derived = method.make_nets(
    small(derive__num_cells=8, derive__channels=16)
  )
  assert (net.num_cells, net.channels) == (3, 4)
  assert (derived.num_cells, derived.channels) == (8, 16)
  assert make_space(net).choices == make_space(derived).choices


def test_both_networks_have_the_same_choices():
  with pytest.raises(ValueError, match=r"space.num_cells=3 .*num_cells=2"):
    method.make_nets(small(derive__num_cells=2))


def test_nasbench201_by_name():
  net, derived = method.make_nets(
    small(space__name="nasbench201", derive__num_cells=5, derive__channels=16)
  )
  assert net == NasBench201(3, 4, (8, 8, 1), 10)
  assert derived == NasBench201(5, 16, (8, 8, 1), 10)


def test_a_chain_by_name():
  fields = {"space__name": "mobile", "data__name": "cifar10"}
  net, derived = method.make_nets(
    small(space__skeleton="lightnas_32", space__width=0.5, **fields)
  )
  assert net is derived
  assert net == Chain(SKELETONS["lightnas_32"], (32, 32, 3), 10, 0.5)


def test_a_skeleton_for_larger_images_is_refused():
  config = small(space__name="mobile", space__skeleton="proxyless")
  message = r"space.skeleton=proxyless is not for data.name=digits: .*8x8"
  with pytest.raises(ValueError, match=message):
    method.make_nets(config)


@pytest.mark.parametrize(("name", "fits"), [("cifar10", 1), ("digits", 0)])
def test_the_auxiliary_head_needs_room(name, fits):
  config = small(data__name=name, train__auxiliary_weight=0.4)
  if fits:
    method.make_nets(config)
  else:
    with pytest.raises(ValueError, match=r"auxiliary_weight .*5x5.* 2x2"):
      method.make_nets(config)


def test_the_reference_counts_sites_in_paper_mode():
  config = small(cost__name="paper", space__num_cells=8)
  net, derived = method.make_nets(config)
  counts = pricing.make_reference(config, net, derived, None).reference
  # Eight cells: six normal, two reducing.
  assert counts[: len(net.edges)].tolist() == [[6] * 3] * len(net.edges)
  assert counts[len(net.edges) :].tolist() == [[2] * 3] * len(net.edges)


def test_the_two_levels_share_no_example():
  config = small(search__bilevel=True, search__weights_fraction=0.25)
  dataset = embedded.digits()
  data, digest = method.make_search_data(config, dataset)
  first, second = (set(np.asarray(i).tolist()) for i in data[2:])
  count = len(dataset.train.labels)
  assert not first & second and first | second == set(range(count))
  assert len(first) == round(count / 4)
  config.seed = 1
  assert method.make_search_data(config, dataset)[1] != digest


def test_a_batch_larger_than_a_split_is_refused():
  config = small(search__batch_size=800)
  with pytest.raises(ValueError, match=r"search.batch_size \(800\).* digits"):
    method.make_search_data(config, embedded.digits())


@pytest.mark.parametrize("name", ["fixed", "simplex", "cone"])
def test_conditions_by_name(name):
  config = small(condition__name=name)
  drawn = method.make_conditions(config, 3).draw(jax.random.key(0))
  assert drawn.simplex.shape == (3,)
  assert 0 < drawn.scale <= config.condition.high


# Targets: 4 choices that cost 0.5 to 2.5 ms, on a base of 1.

TABLE = CostTable(jnp.tile(jnp.array([0.5, 1.5, 2.5]), (4, 1)), jnp.ones(()))


def aimed(target, name="dual_ascent", **fields):
  config = small(
    penalty__name=name,
    penalty__target=target,
    condition__name="fixed",
    derive__rule="argmax",
    **fields,
  )
  checks.check(config)
  return config, method.make_nets(config)[0].space()


@pytest.mark.parametrize(
  ("target", "wanted_ms"),
  [("5ms", 5.0), ("0.5x", 5.5), ("60%", 6.6), ("100%", 11.0), ("3ms", 3.0)],
)
def test_a_target_is_of_the_largest_architecture(target, wanted_ms):
  found = pricing.make_target_ms(*aimed(target), TABLE)
  np.testing.assert_allclose(found, wanted_ms, rtol=1e-6)


@pytest.mark.parametrize("target", ["2.9ms", "11.1ms", "10%", "1.01x"])
@pytest.mark.parametrize("name", ["hinge", "dual_ascent"])
def test_a_target_out_of_reach_is_refused_with_the_range(target, name):
  message = rf"penalty.target={target} is .* 3 ms \(27.3%\) to 11 ms"
  with pytest.raises(ValueError, match=message):
    pricing.make_target_ms(*aimed(target, name), TABLE)


@pytest.mark.parametrize("target_ms", [4.0, 7.0, 10.0])
def test_dual_ascent_derives_what_takes_its_target(target_ms):
  config, space = aimed(f"{target_ms}ms")
  logits = np.random.default_rng(0).normal(size=space.shape)
  genotype = pricing.make_rule(config, space, TABLE)(space, logits)
  costs = np.asarray(TABLE.reference)
  assert 1 + sum(costs[e, o] for e, o in enumerate(genotype)) == target_ms
  config.penalty.name = "hinge"
  plain = pricing.make_rule(config, space, TABLE)(space, logits)
  assert plain == tuple(logits.argmax(1))


def test_without_a_target_nothing_is_refused():
  config = small()
  space = method.make_nets(config)[0].space()
  assert pricing.make_target_ms(config, space, TABLE) is None
  tiny = TABLE._replace(base=0.0 * TABLE.base)
  assert pricing.make_reach(config, space, tiny).smallest_ms < 3


def test_a_logarithm_of_a_mix_below_1_ms_is_refused():
  tiny = CostTable(0.1 * TABLE.reference, 0.1 * TABLE.base)
  with pytest.raises(ValueError, match="log_product .*a mix can have 0.3 ms"):
    pricing.make_target_ms(*aimed("1.05ms", "log_product"), tiny)
  pricing.make_target_ms(*aimed("0.9ms", "power"), tiny)


@pytest.mark.parametrize("strength", [0.0, 0.25])
def test_a_penalty_gets_its_target_and_strength(strength):
  config, space = aimed("5ms", "power", penalty__strength=strength)
  config.penalty.on = "sampled"
  net = method.make_nets(config)[0]
  dataset = embedded.digits()
  parts, settings, _ = method.make_parts(config, net, TABLE, dataset)
  state = {name: float(v) for name, v in parts.penalty.init().items()}
  wanted = {"target_ms": 5.0, "strength": strength or 0.1}
  assert state == pytest.approx(wanted, rel=1e-6)
  assert settings.price_sample
  mask = parts.derived(jnp.eye(*space.shape))
  np.testing.assert_array_equal(mask.sum(-1), np.ones(len(space.choices)))


def test_by_default_the_mix_is_priced_and_nothing_is_aimed_at():
  config = small()
  net = method.make_nets(config)[0]
  parts, settings, _ = method.make_parts(config, net, TABLE, embedded.digits())
  assert parts.penalty.init() == {} and parts.derived is None
  assert not settings.price_sample

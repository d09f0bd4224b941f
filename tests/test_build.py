"""From a config to objects: shapes, references, and what is refused."""

import jax
import numpy as np
import pytest

from hwnas_jax import build
from hwnas_jax import config as configuration
from hwnas_jax.data import embedded
from hwnas_jax.spaces.darts import make_space
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
  net, derived = build.make_nets(small(data__name=name))
  assert net == derived and net.image == image and net.num_classes == 10


def test_shapes_of_own_images_are_read(tmp_path):
  path = tmp_path / "own.npz"
  labels = np.arange(6) % 3
  images = np.random.default_rng(0).integers(0, 255, (6, 12, 10, 2), np.uint8)
  arrays = {"x_train": images, "x_test": images}
  np.savez(path, y_train=labels, y_test=labels, **arrays)
  net, _ = build.make_nets(small(data__name=f"npz:{path}"))
  assert net.image == (12, 10, 2) and net.num_classes == 3


def test_the_derived_network_may_be_larger():
  net, derived = build.make_nets(
    small(derive__num_cells=8, derive__channels=16)
  )
  assert (net.num_cells, net.channels) == (3, 4)
  assert (derived.num_cells, derived.channels) == (8, 16)
  assert make_space(net).choices == make_space(derived).choices


def test_both_networks_have_the_same_choices():
  with pytest.raises(ValueError, match=r"space.num_cells=3 .*num_cells=2"):
    build.make_nets(small(derive__num_cells=2))


def test_nasbench201_by_name():
  net, derived = build.make_nets(
    small(space__name="nasbench201", derive__num_cells=5, derive__channels=16)
  )
  assert net == NasBench201(3, 4, (8, 8, 1), 10)
  assert derived == NasBench201(5, 16, (8, 8, 1), 10)


@pytest.mark.parametrize(("name", "fits"), [("cifar10", 1), ("digits", 0)])
def test_the_auxiliary_head_needs_room(name, fits):
  config = small(data__name=name, train__auxiliary_weight=0.4)
  if fits:
    build.make_nets(config)
  else:
    with pytest.raises(ValueError, match=r"auxiliary_weight .*5x5.* 2x2"):
      build.make_nets(config)


def test_the_reference_counts_sites_in_paper_mode():
  config = small(cost__name="paper", space__num_cells=8)
  net, derived = build.make_nets(config)
  counts = build.make_reference(config, net, derived, None).reference
  # Eight cells: six normal, two reducing.
  assert counts[: len(net.edges)].tolist() == [[6] * 3] * len(net.edges)
  assert counts[len(net.edges) :].tolist() == [[2] * 3] * len(net.edges)


def test_the_two_levels_share_no_example():
  config = small(search__bilevel=True, search__weights_fraction=0.25)
  dataset = embedded.digits()
  data, digest = build.make_search_data(config, dataset)
  first, second = (set(np.asarray(i).tolist()) for i in data[2:])
  count = len(dataset.train.labels)
  assert not first & second and first | second == set(range(count))
  assert len(first) == round(count / 4)
  config.seed = 1
  assert build.make_search_data(config, dataset)[1] != digest


def test_a_batch_larger_than_a_split_is_refused():
  config = small(search__batch_size=800)
  with pytest.raises(ValueError, match=r"search.batch_size \(800\).* digits"):
    build.make_search_data(config, embedded.digits())


@pytest.mark.parametrize("name", ["fixed", "simplex", "cone"])
def test_conditions_by_name(name):
  config = small(condition__name=name)
  drawn = build.make_conditions(config, 3).draw(jax.random.key(0))
  assert drawn.simplex.shape == (3,)
  assert 0 < drawn.scale <= config.condition.high

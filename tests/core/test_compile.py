"""`jit` of a large program has none of YNNPACK's fusions on CPU."""

import jax.numpy as jnp
import pytest
from toy_config import config

from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.core import compile as compiling
from hwnas_jax.data import load


def fusions(**options):
  program = compiling.jit(lambda x: (x @ x).sum() + x.sum(), **options)
  text = program.lower(jnp.ones((64, 64))).compile().as_text()
  return text.count('kind":"__ynn_fusion')


def test_a_large_program_has_no_fusions_that_load_slowly():
  if not fusions():
    pytest.skip("this version of XLA fuses nothing by YNNPACK")
  assert not fusions(large=True)


def test_an_option_that_xla_does_not_know_is_not_given():
  assert not compiling._has_option("xla_cpu_no_such_option")
  assert compiling._has_option("xla_disable_hlo_passes")


@pytest.mark.parametrize(
  ("fields", "large"),
  [
    ({"space__ops": "eight", "space__num_cells": 8, "space__num_nodes": 4}, 1),
    ({"space__name": "mobile", "space__skeleton": "fbnet_32"}, 1),
    ({"space__ops": "three", "space__num_cells": 3}, 0),
  ],
)
def test_the_steps_of_eight_cells_and_of_a_chain_are_large(fields, large):
  made = config(cost__name="macs", data__name="mock_cifar10", **fields)
  made = problems.resolve(made)
  dataset = load.load("mock_cifar10")
  nets = problems.make_nets(made, dataset)
  _, settings = method.make_parts(problems.make(made, nets, None), dataset)
  assert settings.large == large

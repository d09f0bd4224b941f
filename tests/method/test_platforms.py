"""Programs for devices that are not here: traced and lowered, not compiled."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_config import CELLS, config

from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.data import embedded
from hwnas_jax.method.state import CostTable
from hwnas_jax.method.step import init_state, make_step
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.nets.models import make_network
from hwnas_jax.spaces import rules
from hwnas_jax.train import step as train_step

SPACES = {
  "darts": CELLS,
  "nasbench201": {"space__name": "nasbench201", "space__num_cells": 1}
  | {"space__channels": 4},
  "mobile": {"space__name": "mobile", "space__skeleton": "tiny"},
  "custom": {"space__name": "custom", "space__model": "toy_models:Depthwise"},
}
# A mixture; a path.
STEPS = (
  ("gumbel_softmax", "float32"),
  ("gdas", "float32"),
  pytest.param("gdas", "bfloat16", marks=pytest.mark.slow),
)
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}  # as StableHLO has them
PLATFORMS = ("cuda", "tpu")


def problem(space, sampler="gumbel_softmax", precision="float32"):
  """A search priced by multiply-accumulates, so that it needs no table."""
  fields = config(
    **SPACES[space],
    cost__name="macs",
    search__batch_size=4,
    sampler__name=sampler,
    sampler__per_example=False,
    derive__rule="argmax",
    precision=precision,
  )
  nets = problems.make_nets(fields, embedded.digits())
  return problems.make(fields, nets, None)


def lowered(function, *arguments, platforms=PLATFORMS):
  """A function's StableHLO for some platforms, traced for the first."""
  with tracing_for(platforms[0]):
    traced = jax.jit(function).trace(*arguments)
  return traced.lower(lowering_platforms=platforms).as_text()


def depthwise(text):
  """Whether a program has a convolution of several groups."""
  parts = text.split("feature_group_count = ")[1:]
  return any(int(part.split()[0]) > 1 for part in parts)


def computed_in(text):
  """The types of the operands of a program's convolutions."""
  operands = re.findall(r"stablehlo.convolution.* : \((.*?)\) ->", text)
  return set(re.findall(r"x([a-z]+\d+)>", " ".join(operands)))


def search_step(space, sampler, precision="float32"):
  """(the step, its arguments as shapes)."""
  made, dataset = problem(space, sampler, precision), embedded.digits()
  parts, settings = method.make_parts(made, dataset)
  spans = method.make_phases(made.config)
  start = functools.partial(init_state, parts, spans)
  state = jax.eval_shape(start, jax.random.key(0))
  data, _ = method.make_search_data(made.config, dataset)
  shape = made.nets.supernet.space().shape
  table = CostTable(jnp.ones(shape), jnp.zeros(()))
  return make_step(parts, settings, spans[-1].phase), (state, data, table)


@pytest.mark.parametrize(("sampler", "precision"), STEPS)
@pytest.mark.parametrize("space", SPACES)
def test_a_search_step_lowers_for_accelerators(space, sampler, precision):
  step, arguments = search_step(space, sampler, precision)
  text = lowered(step, *arguments)
  assert computed_in(text) == {PRECISIONS[precision]}
  # NAS-Bench-201 has no depthwise convolution.
  assert depthwise(text) == (space != "nasbench201")


def test_on_a_cpu_depthwise_convolutions_are_sums():
  step, arguments = search_step("mobile", "gdas")
  assert not depthwise(lowered(step, *arguments, platforms=("cpu",)))


@pytest.mark.parametrize(
  "precision",
  ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", SPACES)
def test_training_and_inference_lower_for_accelerators(name, precision):
  made, dataset = problem(name, precision=precision), embedded.digits()
  kinds = {PRECISIONS[precision]}
  net, recipe = made.nets.derived, made.config.train
  rng, space = np.random.default_rng(0), net.space()
  drawn = (rules.random(space, "argmax", rng) for _ in range(100))
  genotype = next(genotype for genotype in drawn if net.alive(genotype))
  network, optimiser = make_network(net, genotype, "train"), optax.sgd(0.1)
  start = functools.partial(train_step.init_state, network, optimiser)
  state = jax.eval_shape(start, jax.random.key(0))
  augment = method.make_augment(made.config, dataset)
  step = train_step.make_train_step(network, optimiser, recipe, augment)
  assert computed_in(lowered(step, state, dataset.train)) == kinds
  module = make_network(net, genotype, "eval")
  images = jax.ShapeDtypeStruct((4, *net.image), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), images)
  images = jax.ShapeDtypeStruct(images.shape, precision)
  infer = lambda v, x: module.apply(v, x)[0]  # noqa: E731
  assert computed_in(lowered(infer, variables, images)) == kinds

"""A decision inside a model of your own.

  class MyNet(nn.Module):
    mode: Mode  # "search", "train" or "eval", for this package's BatchNorm

    @nn.compact
    def __call__(self, x):
      x = nn.Conv(16, (3, 3))(x)
      for index in range(4):
        layer = {"conv3": nn.Conv(16, (3, 3)), "skip": Identity()}
        x = Choice(layer, name=f"layer_{index}")(x)
      return nn.Dense(10)(x.mean((1, 2)))

The operations are ordinary modules; choices may have different ones. What a
choice does is said around the model, by `running`: nothing is kept between two
calls. Not inside nn.scan, nn.vmap or nn.jit.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.core.types import Array, Params, Paths
from hwnas_jax.nets.paths import Branch, mix_all, run_paths, shortcut


class Choice(nn.Module):
  """One of some modules, all [B, H, W, C] -> [B, H', W', C'] of one shape.

  ops: module by the operation's name. A name means one thing to a controller:
    what conv3 costs here says what it costs at other choices.
  """

  ops: Mapping[str, nn.Module]

  @nn.compact
  def __call__(self, x: Array, run: "Run | None" = None) -> Array:
    """What `run` makes of x; `running` hands it over.

    Raises:
      ValueError: nothing says what to do.
    """
    if run is None:
      raise ValueError(
        f"the Choice {label(self)} runs no operation by itself: make a network"
        " of the model by hwnas_jax.nets.models"
      )
    return lax.optimization_barrier(run(self, x))


Run = Callable[[Choice, Array], Array]


def running(run: Run) -> AbstractContextManager[Any]:
  """`with running(run):` every Choice called inside does `run(choice, x)`."""

  def intercept(
    call: Callable[..., Any], args: Any, kwargs: Any, context: Any
  ) -> Any:
    is_call = context.method_name == "__call__"
    if is_call and isinstance(context.module, Choice):
      kwargs = {**kwargs, "run": run}
    return call(*args, **kwargs)

  return nn.intercept_methods(intercept)


def label(choice: Choice) -> str:
  """Its name in the model, `block_1/layer_0`."""
  return "/".join(choice.path)


def template(choice: Choice, op: str) -> nn.Module:
  """An operation, outside the model that it was made in."""
  return choice.ops[op].copy(parent=None, name=None)


def every(choice: Choice, x: Array) -> Array:
  """Runs all operations, so that all get their weights, and gives the first's.

  Raises:
    ValueError: they do not take x alike, with a message for the user.
  """
  if not (isinstance(choice.ops, Mapping) and choice.ops):
    raise ValueError(
      f"the Choice {label(choice)} takes a dict of modules by name, got"
      f" {choice.ops!r}"
    )
  where, given = (
    f"the Choice {label(choice)}",
    " x ".join(map(str, x.shape[1:])),
  )
  if len(x.shape) != 4:
    raise ValueError(
      f"{where} sees {given or 'a number'} an example: it takes images,"
      " height x width x channels"
    )
  outputs = {op: choice.ops[op].copy(name=op)(x) for op in choice.ops}
  shapes = {op: jax.tree.map(jnp.shape, y) for op, y in outputs.items()}
  if len(set(map(str, shapes.values()))) > 1:
    raise ValueError(
      f"{where} sees {given}, of which its operations make different shapes: "
      + ", ".join(f"{op} {shape[1:]}" for op, shape in shapes.items())
    )
  first = next(iter(outputs.values()))
  if not isinstance(first, jax.Array) or first.ndim != 4:
    raise ValueError(
      f"{where} gives {shapes[next(iter(shapes))]}: its operations have to give"
      " images, height x width x channels"
    )
  return first


def only(chosen: Mapping[str, str]) -> Run:
  """Runs one operation by the choice's label; its weights are the model's."""

  def run(choice: Choice, x: Array) -> Array:
    op = chosen[label(choice)]
    return choice.ops[op].copy(name=op)(x)

  return run


def skipping(choice: Choice, x: Array) -> Array:
  """Runs nothing: x, cut or filled with zeros to the operations' shape."""
  return shortcut(x, _output(choice, x))


def mixing(
  columns: Mapping[str, int],
  rows: Mapping[str, int],
  mix: Array,
  paths: Paths | None,
  identity: Array | None,
) -> Run:
  """Runs every choice of a supernet as `nets.supernet.Net` says.

  columns: by operation, all O. rows: by the choice's label.
  """

  def run(choice: Choice, x: Array) -> Array:
    params = choice.variables.get("params", {})
    row = rows[label(choice)]
    weights, branches = mix[..., row, :], _branches(choice, columns, x)
    if paths is None:
      own = np.asarray([columns[op] for op in choice.ops])
      active = [branches[column] for column in own]
      y = mix_all(active, params, x, weights[..., own])
    else:
      path = jax.tree.map(lambda p: p[row], paths)
      y = run_paths(branches, params, x, weights, path)
    return y if identity is None else y + identity * shortcut(x, y)

  return run


def _branches(
  choice: Choice, columns: Mapping[str, int], x: Array
) -> list[Branch]:
  """[O]; what the choice lacks gives zeros."""
  shape = _output(choice, x).shape

  def branch(op: str) -> Branch:
    if op not in choice.ops:
      return lambda params, x: jnp.zeros(shape, x.dtype)
    module = template(choice, op)

    def run(params: Params, x: Array) -> Any:
      return module.apply({"params": params.get(op, {})}, x)

    return run

  return [branch(op) for op in sorted(columns, key=lambda op: columns[op])]


def _output(choice: Choice, x: Array) -> Any:
  """Shape and type of what the operations give."""
  module = template(choice, next(iter(choice.ops)))
  # The key is made inside: outside it would be a part of the program.
  init = lambda x: module.init_with_output(jax.random.key(0), x)[0]  # noqa: E731
  return jax.eval_shape(init, x)

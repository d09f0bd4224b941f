"""A choice inside a model of your own.

  class MyNet(nn.Module):
    mode: Mode  # "search", "train" or "eval", for this package's BatchNorm

    @nn.compact
    def __call__(self, x):
      x = nn.Conv(16, (3, 3))(x)
      for index in range(4):
        layer = {"conv3": nn.Conv(16, (3, 3)), "skip": Identity()}
        x = Choice(layer, name=f"layer_{index}")(x)
      return nn.Dense(10)(x.mean((1, 2)))

The operations are ordinary linen modules, and choices may offer different ones.
What a Choice does when it is called is set around the call of the model, by
`running`; a Choice has no state. It cannot be inside nn.scan, nn.vmap or
nn.jit: `tracing` refuses that.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hwnas_jax.core.types import Array, Params, Paths
from hwnas_jax.nets.paths import (
  Branch,
  mix_all,
  run_paths,
  shortcut,
  weigh,
)


class Choice(nn.Module):
  """One of several modules, all of which give [B, H', W', C'] of one shape.

  ops: the modules by the operation's name, or a list of modules, which are then
    named by class and place, such as Conv_0. Give the same name to the same
    operation of other choices: a controller shares what it learns about it.

  >>> import flax.linen as nn
  >>> convs = {f"conv{k}": nn.Conv(4, (k, k)) for k in (1, 3)}
  >>> layer = hw.Choice(convs, name="layer_1")
  >>> sorted(layer.ops)
  ['conv1', 'conv3']
  """

  ops: Mapping[str, nn.Module] | Sequence[nn.Module]

  @nn.compact
  def __call__(
    self, *inputs: Any, run: "RunChoice | None" = None, **others: Any
  ) -> Array:
    """Runs the choice.

    Args:
      *inputs: one array [B, H, W, C].
      run: what runs; `running` fills it in.
      **others: none.

    Returns:
      [B, H', W', C'].

    Raises:
      ValueError: it is called with anything but one array, or `running` is not
        around the call.
    """
    if len(inputs) != 1 or others or not isinstance(inputs[0], jax.Array):
      raise ValueError(_wrong_call(self, inputs, others))
    if run is None:
      raise ValueError(
        f"the Choice {label(self)} runs no operation by itself: make a network"
        " of the model by hwnas_jax.nets.models"
      )
    return lax.optimization_barrier(run(self, inputs[0]))


def _wrong_call(
  choice: Choice, inputs: Sequence[Any], others: Mapping[str, Any]
) -> str:
  """The message of a call with anything but one array."""
  given = [x for x in inputs if not isinstance(x, jax.Array)]
  parts = [type(x).__name__ for x in given] or [f"{len(inputs)} arrays"]
  got = ", ".join([*parts, *others])
  return (
    f"the Choice {label(choice)} is called with {got}: a Choice takes one array"
    " of images. To choose how branches are joined, concatenate them along the"
    " channels before, and split them in the operations"
  )


class RunChoice(Protocol):
  """Runs a Choice."""

  def __call__(self, choice: Choice, x: Array, /) -> Array:
    """The choice's output [B, H', W', C'] for x [B, H, W, C]."""


def running(run: RunChoice) -> AbstractContextManager[Any]:
  """Inside `with running(run):` every Choice that is called does `run`."""

  def intercept(
    call: Callable[..., Any], args: Any, kwargs: Any, context: Any
  ) -> Any:
    is_call = context.method_name == "__call__"
    if is_call and isinstance(context.module, Choice):
      kwargs = {**kwargs, "run": run}
    return call(*args, **kwargs)

  return nn.intercept_methods(intercept)


def label(choice: Choice) -> str:
  """The choice's name in the model, such as `block_1/layer_0`."""
  return "/".join(choice.path)


def operations(choice: Choice) -> dict[str, nn.Module]:
  """The modules by name.

  Raises:
    ValueError: there are none.
  """
  ops = choice.ops
  if isinstance(ops, (list, tuple)):  # flax makes a tuple of a list
    ops = {f"{type(m).__name__}_{i}": m for i, m in enumerate(ops)}
  if not (isinstance(ops, Mapping) and ops):
    raise ValueError(
      f"the Choice {label(choice)} has {choice.ops!r}: give it a dict of"
      " modules by name, or a list of them"
    )
  return dict(ops)


def template(choice: Choice, op: str) -> nn.Module:
  """An operation's module, detached from the model."""
  return operations(choice)[op].copy(parent=None, name=None)


def missing_arguments(module: nn.Module) -> str:
  """What __call__ needs besides the images, such as "train, scale"."""
  rest = list(inspect.signature(module.__call__).parameters.values())[1:]
  variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
  return ", ".join(
    p.name for p in rest if p.default is p.empty and p.kind not in variadic
  )


def copies(choice: Choice) -> dict[str, nn.Module]:
  """Copies of the operations inside the Choice, each with its own weights.

  Raises:
    ValueError: an operation cannot be copied; the message says why.
  """
  where = f"the Choice {label(choice)}"
  for step in choice.path:
    if "/" in step:
      raise ValueError(
        f"{where}: {step!r} has a slash, which separates names: rename it"
      )
  for op, module in operations(choice).items():
    _check_name(choice, op)
    if not isinstance(module, nn.Module):
      raise ValueError(
        f"{where}: operation {op!r} is {_describe(module)}, expected a"
        f" flax.linen module: {_remedy(module)}"
      )
    if missing := missing_arguments(module):
      raise ValueError(
        f"{where}: operation {op!r}: __call__ needs {missing}: give it a"
        " default, or make it a field of the module, as `mode`"
      )
  return {op: m.copy(name=op) for op, m in operations(choice).items()}


def _check_name(choice: Choice, op: object) -> None:
  where = f"the Choice {label(choice)}: the operation's name {op!r}"
  if not isinstance(op, str) or not op or "/" in op:
    raise ValueError(f"{where} has to be text without a slash: rename it")
  if hasattr(choice, op):
    raise ValueError(f"{where} is a name that flax uses itself: rename it")


def _describe(value: object) -> str:
  if isinstance(value, type):
    return f"the class {value.__name__}"
  return "a function" if callable(value) else repr(value)


def _remedy(value: object) -> str:
  if isinstance(value, type) and issubclass(value, nn.Module):
    return f"write {value.__name__}(...)"
  return "wrap it in one, or use hwnas_jax.nets.ops.Identity()"


def every(choice: Choice, x: Array) -> Array:
  """Runs all operations, so that all make their weights.

  Returns:
    The output of the first.

  Raises:
    ValueError: see `run_all`.
  """
  return run_all(choice, x, copies(choice))


def run_all(
  choice: Choice, x: Array, modules: Mapping[str, nn.Module]
) -> Array:
  """Runs all modules on one input.

  Args:
    choice: whose modules they are.
    x: [B, H, W, C].
    modules: as `copies` gives them.

  Returns:
    The output of the first.

  Raises:
    ValueError: x is no batch of images, or outputs differ in shape or type.
  """
  where = f"the Choice {label(choice)}"
  given = " x ".join(map(str, x.shape[1:])) or "a number"
  if len(x.shape) != 4:
    raise ValueError(
      f"{where} sees {given} an example: it takes images, height x width x"
      " channels: call it before they are pooled or flattened"
    )
  outputs = {op: module(x) for op, module in modules.items()}
  for op, y in outputs.items():
    if not isinstance(y, jax.Array) or y.ndim != 4:
      raise ValueError(
        f"{where}: operation {op!r} gives {jax.tree.map(jnp.shape, y)}: return"
        " one array of images, batch x height x width x channels"
      )
  listed = [f"{op} {y.shape[1:]} {y.dtype}" for op, y in outputs.items()]
  made = ", ".join(listed)
  differ = f"{where} sees {given}, of which its operations make different"
  if len({y.shape for y in outputs.values()}) > 1:
    raise ValueError(
      f"{differ} shapes, {made}: give them the same channels, stride and"
      " padding"
    )
  if len({y.dtype for y in outputs.values()}) > 1:
    raise ValueError(f"{differ} types, {made}: give them the same dtype")
  return next(iter(outputs.values()))


def only(chosen: Mapping[str, str]) -> RunChoice:
  """Runs one operation a choice, inside the model.

  Args:
    chosen: the operation by the choice's label.
  """

  def run(choice: Choice, x: Array) -> Array:
    op = chosen[label(choice)]
    return operations(choice)[op].copy(name=op)(x)

  return run


def skipping(choice: Choice, x: Array) -> Array:
  """Runs no operation: x, cut or filled with zeros to their shape."""
  return shortcut(x, _output(choice, x))


def mixing(
  columns: Mapping[str, int],
  rows: Mapping[str, int],
  mix: Array,
  paths: Paths | None,
  identity: Array | None,
) -> RunChoice:
  """Runs every choice as `nets.supernet.Apply` says.

  Args:
    columns: by operation, all O.
    rows: by the choice's label.
    mix: [E, O] or [B, E, O].
    paths: of all choices, or None.
    identity: [] or None.
  """

  def run(choice: Choice, x: Array) -> Array:
    params = choice.variables.get("params", {})
    row = rows[label(choice)]
    weights, branches = mix[..., row, :], _branches(choice, columns, x)
    if paths is None:
      offered = np.asarray([columns[op] for op in operations(choice)])
      active = [branches[column] for column in offered]
      y = mix_all(active, params, x, weights[..., offered])
    else:
      path = jax.tree.map(lambda p: p[row], paths)
      y = run_paths(branches, params, x, weights, path)
    return y if identity is None else y + weigh(shortcut(x, y), identity)

  return run


def _branches(
  choice: Choice, columns: Mapping[str, int], x: Array
) -> list[Branch]:
  """[O]; an operation that the choice does not offer gives zeros."""
  shape = _output(choice, x).shape

  def branch(op: str) -> Branch:
    if op not in operations(choice):
      return lambda params, x: jnp.zeros(shape, x.dtype)
    module = template(choice, op)

    def run(params: Params, x: Array) -> Any:
      return module.apply({"params": params.get(op, {})}, x)

    return run

  return [branch(op) for op in sorted(columns, key=lambda op: columns[op])]


def _output(choice: Choice, x: Array) -> Any:
  """Shape and type of the operations' output."""
  module = template(choice, next(iter(operations(choice))))
  # The key is made inside; from outside it would be a part of the program.
  init = lambda x: module.init_with_output(jax.random.key(0), x)[0]  # noqa: E731
  return jax.eval_shape(init, x)

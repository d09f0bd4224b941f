"""Reads the search space of a user's model by tracing it.

The model is traced on shapes, nothing is computed: every operation of every
Choice, in each mode. The shape that an operation sees makes its site. Sites
that compute the same have one entry in the latency table. What is outside the
choices is a fixed site: the model with every Choice replaced by a shortcut,
which hands on its input where the shape stays, and otherwise cuts it or fills
it with zeros.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp

from hwnas_jax.core import program
from hwnas_jax.core.types import Array, Params
from hwnas_jax.nets import choice as choices
from hwnas_jax.nets import searchable
from hwnas_jax.nets.choice import Choice
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.user_model import Outside, instance
from hwnas_jax.spaces.custom import OUTSIDE, Custom
from hwnas_jax.spaces.spec import Site, SiteKind, Space

MODES: tuple[Mode, ...] = get_args(Mode)
# Names with a meaning in rules and latency tables.
RESERVED = ("none", OUTSIDE)
# What to do about an error whose message, flax's, says only what and where.
_REMEDIES: dict[type, str] = {
  flax.errors.NameInUseError: "give each Choice its own name=",
  flax.errors.InvalidRngError: "random streams are not supported, remove what"
  " draws, such as nn.Dropout",
}


class _Call(NamedTuple):
  """One call of a Choice.

  inputs, outputs: shapes without the batch.
  modules: by operation, outside the model.
  variables: shapes, by collection and operation.
  """

  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  modules: dict[str, nn.Module]
  variables: Params


_Calls = dict[str, _Call]  # by the choice's label, in the order of the calls
_ByMode = dict[str, Any]


def trace(
  model: Callable[..., nn.Module], image: tuple[int, int, int], num_classes: int
) -> Custom:
  """The search space of a model. Nothing is compiled or run.

  Args:
    model: see `user_model.instance`.
    image: (height, width, channels) of the input.
    num_classes: the model has to return so many logits an image.

  Raises:
    ValueError: the model has no Choice, or one that cannot be searched; the
      message says which and why.
  """
  name = getattr(model, "__name__", repr(model))
  try:
    runs = {mode: _run(model, image, num_classes, mode) for mode in MODES}
    calls = {mode: made for mode, (made, _) in runs.items()}
    _check_modes(calls)
    fixed = _outside(model, image, num_classes)
  except flax.errors.FlaxError as error:
    problem = str(error).split(" (https://")[0]
    remedy = _REMEDIES.get(type(error))
    text = f"{problem.rstrip('.')}: {remedy}" if remedy else problem
    raise ValueError(f"{name}: {text}") from error
  except ValueError as error:
    raise ValueError(f"{name}: {error}") from error
  space, programs = _space(calls, fixed)
  programs |= {f"mode {mode}": digest for mode, (_, digest) in runs.items()}
  return Custom(name, image, num_classes, space, programs, model)


def _run(
  model: Callable[..., nn.Module],
  image: tuple[int, int, int],
  num_classes: int,
  mode: Mode,
) -> tuple[_Calls, str]:
  """The call of every Choice in a mode, by label; and the model's digest."""
  calls: _Calls = {}
  users: searchable.Users = {}
  module = instance(model, mode, num_classes)
  if missing := choices.missing_arguments(module):
    raise ValueError(
      f"__call__ needs {missing}: give it a default, or read self.mode, a field"
      " that is filled in here"
    )
  x = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  with choices.running(_recorder(calls, users)):
    whole, (logits, variables) = jax.make_jaxpr(
      module.init_with_output, return_shape=True
    )(jax.random.key(0), x)
  if not calls:
    raise ValueError(
      "it has no Choice: there is nothing to search. Call one,"
      " hwnas_jax.nets.choice.Choice"
    )
  shape = jax.tree.map(jnp.shape, logits)
  if shape != (1, num_classes):
    raise ValueError(f"it returns {shape}, expected logits (1, {num_classes})")
  searchable.check_variables(variables, mode)
  _check_names(calls)
  searchable.check_users(users, variables)
  # Once more, without random streams: no network of it gets any.
  with choices.running(choices.every):
    apply = lambda v, x: module.apply(v, x, mutable=["batch_stats"])  # noqa: E731
    jax.eval_shape(apply, variables, x)
  return calls, program.exact_digest(whole)


def _recorder(calls: _Calls, users: searchable.Users) -> choices.RunChoice:
  """`choices.every`, and records the call and the modules with weights."""
  inside: list[str] = []

  def run(choice: Choice, x: Array) -> Array:
    name = choices.label(choice)
    if inside:
      raise ValueError(
        f"the Choice {name} is inside the Choice {inside[0]}: give its"
        " operations to that one, or call it outside"
      )
    if name in calls:
      raise ValueError(
        f"the Choice {name} is called twice: write a Choice for each call"
      )
    searchable.check_transforms(choice)
    inside.append(name)
    modules = choices.copies(choice)
    y = choices.run_all(choice, x, modules)
    inside.pop()
    for op, original in choices.operations(choice).items():
      searchable.note_use(users, f"{name}/{op}", original, modules[op])
    shapes = jax.tree.map(
      lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), dict(choice.variables)
    )
    templates = {op: choices.template(choice, op) for op in modules}
    calls[name] = _Call(x.shape[1:], y.shape[1:], templates, shapes)
    return y

  return run


def _check_names(calls: _Calls) -> None:
  for name, call in calls.items():
    for op in call.modules:
      if op in RESERVED:
        raise ValueError(
          f"the Choice {name} has an operation {op!r}, a name that this"
          " package uses itself: rename it"
        )


def _check_modes(calls: dict[Mode, _Calls]) -> None:
  """Raises ValueError if the choices are not the same in all modes."""

  def lines(mode: Mode) -> list[str]:
    return [
      f"{name} {call.inputs} -> {call.outputs}: {', '.join(call.modules)}"
      for name, call in calls[mode].items()
    ]

  first = lines(MODES[0])
  for mode in MODES[1:]:
    differ = set(first) ^ set(lines(mode))
    if differ:
      raise ValueError(
        f"its choices are not the same in modes {MODES[0]!r} and {mode!r}:"
        f" {'; '.join(sorted(differ))}: write the same Choices and operations"
        " whatever the mode is"
      )


def _space(
  calls: dict[Mode, _Calls], fixed: Site
) -> tuple[Space, dict[str, str]]:
  """The space, and each choice's digest of all that its operations compute."""
  searched = calls["search"]
  ops = tuple(dict.fromkeys(op for c in searched.values() for op in c.modules))

  programs = dict.fromkeys(searched, "")

  def cell(name: str, op: str) -> tuple[Site, ...]:
    if op not in searched[name].modules:
      return ()
    site, exact = _op_site(op, {mode: calls[mode][name] for mode in MODES})
    programs[name] += f"{op} {exact} "
    return (site,)

  sites = tuple(tuple(cell(name, op) for op in ops) for name in searched)
  space = Space(
    ops=ops,
    choices=tuple(searched),
    sites=sites,
    fixed=(fixed,),
    group=tuple(range(len(searched))),
    keep=1,
    skip=_skip(ops, [site for row in sites for cell in row for site in cell]),
  )
  return space, programs


def _skip(ops: tuple[str, ...], sites: list[Site]) -> str | None:
  """The first operation that hands on its input wherever the shape stays."""
  for op in ops:
    stays = [s.kind for s in sites if s.op == op and s.keeps_shape]
    if stays and set(stays) == {"free"}:
      return op
  return None


def _op_site(op: str, calls: dict[Mode, _Call]) -> tuple[Site, str]:
  """An operation's site, and the digest of all that it computes."""
  call = calls["eval"]
  height, width, channels = call.inputs
  variables: _ByMode = {
    mode: {k: part[op] for k, part in c.variables.items() if op in part}
    for mode, c in calls.items()
  }
  modules: _ByMode = {mode: c.modules[op] for mode, c in calls.items()}
  closed = _inference(modules, variables, call.inputs)
  jaxpr = closed.jaxpr
  kind: SiteKind = "layer" if jaxpr.eqns else "free"
  site = Site(
    op,
    height,
    width,
    channels,
    call.outputs[-1],
    max(1, -(-height // call.outputs[0])),
    program.digest(jaxpr),
    modules,
    kind,
  )
  return site, program.exact_digest(closed)


def _outside(
  model: Callable[..., nn.Module], image: tuple[int, int, int], num_classes: int
) -> Site:
  """The site of all that is outside the choices."""
  modules: _ByMode = {mode: Outside(model, num_classes, mode) for mode in MODES}
  x = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  variables: _ByMode = {
    mode: jax.eval_shape(module.init, jax.random.key(0), x)
    for mode, module in modules.items()
  }
  digest = program.digest(_inference(modules, variables, image).jaxpr)
  return Site(OUTSIDE, *image, num_classes, 1, digest, modules, "fixed")


def _inference(
  modules: _ByMode, variables: _ByMode, shape: tuple[int, ...]
) -> Any:
  """The program of a module in mode `eval`; takes all modes' variables."""
  x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  # Traced for ONNX a convolution is one primitive, so that the digest is the
  # same on every platform.
  with tracing_for("onnx"):
    return jax.make_jaxpr(lambda v, x: modules["eval"].apply(v["eval"], x))(
      variables, x
    )

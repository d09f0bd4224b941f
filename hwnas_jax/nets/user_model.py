"""A user's own model: where it is, and its flax module."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from hwnas_jax.core.types import Array
from hwnas_jax.io import paths
from hwnas_jax.io.source import run_file
from hwnas_jax.nets import choice as choices
from hwnas_jax.nets.norm import Mode


def load(reference: str) -> Callable[..., Any]:
  """What `FILE.py:NAME` or `package.module:NAME` names.

  Returns:
    A linen module's class, or a function that makes a module.

  Raises:
    ValueError: there is nothing callable of that name.
  """
  where, _, name = reference.rpartition(":")
  if not where or not name.isidentifier():
    raise ValueError(
      "expected FILE.py:NAME or package.module:NAME, where NAME is the class"
      " of a linen module"
    )
  path = paths.expand(where)
  if path.suffix == ".py" and not path.is_file():
    raise ValueError(f"there is no file {path} here")
  try:
    module = (
      run_file(path) if path.suffix == ".py" else importlib.import_module(where)
    )
  except ImportError as error:
    raise ValueError(str(error)) from error
  model = getattr(module, name, None)
  if not callable(model):
    raise ValueError(f"{where} has no class or function of the name {name}")
  return model


def instance(
  model: Callable[..., nn.Module], mode: Mode, num_classes: int
) -> nn.Module:
  """The user's module.

  Args:
    model: its class, or a function that makes it. It is called with those of
      the keywords `mode` and `num_classes` that it has.
    mode: see `nets.norm`.
    num_classes: of the logits.

  Raises:
    ValueError: it needs other arguments too, or is no linen module.
  """
  given = {"mode": mode, "num_classes": num_classes}
  parameters = inspect.signature(model).parameters
  required = [
    name
    for name, p in parameters.items()
    if p.default is p.empty
    and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
  ]
  unknown = sorted(set(required) - set(given))
  if unknown:
    raise ValueError(
      f"it needs {', '.join(unknown)}: give it a default; only mode and"
      " num_classes are filled in"
    )
  made = model(**{name: v for name, v in given.items() if name in parameters})
  if not isinstance(made, nn.Module):
    raise ValueError(
      f"it makes a {type(made).__name__}, expected a flax.linen module"
    )
  return made


def shared(
  outer: Any, model: Callable[..., nn.Module], num_classes: int
) -> nn.Module:
  """The user's module inside `outer`, whose weights are the user's by name."""
  inner = instance(model, outer.mode, num_classes)
  nn.share_scope(outer, inner)
  return inner


class Outside(nn.Module):
  """The model without its choices: what every architecture runs."""

  model: Callable[..., nn.Module]
  num_classes: int
  mode: Mode

  @nn.compact
  def __call__(self, images: Array) -> Array:
    """Images [B, H, W, C] -> class logits [B, num_classes]."""
    with choices.running(choices.skipping):
      return shared(self, self.model, self.num_classes)(images)

"""Facts about a traced program: its multiply-accumulates and its digest."""

import hashlib
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.extend import core

_LOOPS = ("while", "cond")


def macs(jaxpr: core.Jaxpr) -> int:
  """Counts the multiply-accumulates of convolutions and matrix products.

  The zeros that a transposed convolution multiplies with are counted.

  Args:
    jaxpr: such as `jax.make_jaxpr(function)(*arguments).jaxpr`.

  Raises:
    ValueError: some are in a loop of unknown length or behind a condition.
  """
  total = 0
  for eqn in jaxpr.eqns:
    inner = sum(macs(body) for body in bodies(eqn))
    if inner and eqn.primitive.name in _LOOPS:
      raise ValueError(
        f"multiply-accumulates inside {eqn.primitive.name!r} cannot be counted:"
        " how often it runs is not known before it runs"
      )
    total += inner * eqn.params.get("length", 1) + _eqn_macs(eqn)
  return total


def _eqn_macs(eqn: Any) -> int:
  """Those of one equation, without what it calls."""
  out = math.prod(eqn.outvars[0].aval.shape) if eqn.outvars else 0
  if eqn.primitive.name == "dot_general":
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = eqn.invars[0].aval.shape
    return out * math.prod(left[axis] for axis in contracted)
  if eqn.primitive.name == "conv_general_dilated":
    kernel = eqn.invars[1].aval.shape
    outputs = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    return out * math.prod(kernel) // outputs
  return 0


def names(jaxpr: core.Jaxpr) -> set[str]:
  """Names of the primitives, and of the functions that are called by name."""
  found: set[str] = set()
  for eqn in jaxpr.eqns:
    found |= {eqn.primitive.name, str(eqn.params.get("name", ""))}
    found = found.union(*map(names, bodies(eqn)))
  return found


def dtypes(jaxpr: core.Jaxpr) -> set[str]:
  """Names of the types of what is computed, such as "float32"."""
  values: list[Any] = [v.aval for eqn in jaxpr.eqns for v in eqn.outvars]
  found = {str(getattr(value, "dtype", "")) for value in values}
  return found.union(*(dtypes(b) for eqn in jaxpr.eqns for b in bodies(eqn)))


def digest(jaxpr: core.Jaxpr) -> str:
  """Hashes the operations, their shapes and how they connect.

  Two programs of one digest take the same time. The digest is the same in
  every process; another version of JAX may trace an operation differently.

  Returns:
    8 hexadecimal digits.
  """
  text = "\n".join(_lines(jaxpr, {}))
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def exact_digest(closed: core.ClosedJaxpr) -> str:
  """Hashes all that a program computes: its literals and constants too.

  Returns:
    16 hexadecimal digits, the same in every process of one version of JAX.
  """
  # Functions that are kept for a derivative are printed with their address.
  text = re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr))
  constants = [(np.asarray(c).tobytes(), str(c.dtype)) for c in closed.consts]
  return hashlib.sha256(repr((text, constants)).encode()).hexdigest()[:16]


def _lines(jaxpr: core.Jaxpr, numbers: dict[Any, int]) -> Iterator[str]:
  """One line for each operation; `numbers` numbers variables by first use."""

  def name(atom: Any) -> str:
    if isinstance(atom, core.Literal):
      return f"literal {atom.aval}"
    return f"{numbers.setdefault(atom, len(numbers))} {atom.aval}"

  yield ", ".join(map(name, jaxpr.invars))
  for eqn in jaxpr.eqns:
    inputs, outputs = map(name, eqn.invars), map(name, eqn.outvars)
    params = {k: v for k, v in eqn.params.items() if _is_plain(v)}
    yield f"{eqn.primitive} {sorted(params.items())} {[*inputs]} {[*outputs]}"
    for body in bodies(eqn):
      yield from _lines(body, numbers)
  yield ", ".join(map(name, jaxpr.outvars))


def _is_plain(value: Any) -> bool:
  """Whether its repr is the same in every process: no object's address."""
  if isinstance(value, tuple | list):
    return all(map(_is_plain, value))
  return value is None or isinstance(value, bool | int | float | str)


def bodies(eqn: Any) -> Iterator[core.Jaxpr]:
  """The jaxprs that an operation calls."""
  for value in eqn.params.values():
    for part in value if isinstance(value, tuple | list) else (value,):
      if isinstance(part, core.ClosedJaxpr):
        yield part.jaxpr
      elif isinstance(part, core.Jaxpr):
        yield part

"""Checks of JSON objects that say which field is wrong, and how."""

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

# (does a value hold, what was expected)
Rule = tuple[Callable[[Any], bool], str]


def is_number(value: Any) -> bool:
  """A finite int or float; a bool is none."""
  return type(value) in (int, float) and math.isfinite(value)


def one_of(*values: Any) -> Rule:
  """Equal to one of the values, and of its type."""
  return (
    lambda v: any(v == w and type(v) is type(w) for w in values),
    " or ".join(map(json.dumps, values)),
  )


TEXT: Rule = (lambda v: isinstance(v, str) and v != "", "a text")
OBJECT: Rule = (lambda v: isinstance(v, dict), "an object")
LIST: Rule = (lambda v: isinstance(v, list), "a list")
COUNT: Rule = (lambda v: type(v) is int and v > 0, "an integer above 0")
NUMBER: Rule = (is_number, "a finite number")
POSITIVE: Rule = (lambda v: is_number(v) and v > 0, "a number above 0")
NOT_NEGATIVE: Rule = (lambda v: is_number(v) and v >= 0, "a number >= 0")
NUMBERS: Rule = (
  lambda v: isinstance(v, list) and all(map(is_number, v)),
  "a list of finite numbers",
)
FRACTION: Rule = (
  lambda v: is_number(v) and 0 < v < 1,
  "a number between 0 and 1",
)


def check(where: str, found: Any, rules: dict[str, Rule]) -> None:
  """Raises ValueError unless every rule's field is there and holds.

  Args:
    where: what `found` is, for the message: a file, or a part of one.
    found: parsed JSON.
    rules: by name of the field.
  """
  if not isinstance(found, dict):
    raise ValueError(f"{where}: expected an object, found {found!r:.40}")
  for name, (holds, expected) in rules.items():
    if name not in found:
      raise ValueError(f"{where}: field {name!r} is missing")
    if not holds(found[name]):
      raise ValueError(
        f"{where}: field {name!r} is {found[name]!r:.40}, expected {expected}"
      )


def digest(document: dict[str, Any]) -> str:
  """SHA-256 of a JSON object without its field `digest`."""
  rest = {name: v for name, v in document.items() if name != "digest"}
  return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def check_digest(where: str, document: dict[str, Any], remedy: str) -> None:
  """Raises ValueError where a document's digest is not of its contents.

  Args:
    where: names the document.
    document: with the field that `digest` made.
    remedy: what the message ends with.
  """
  if document["digest"] != digest(document):
    raise ValueError(
      f"{where}: field 'digest' does not match the contents: {remedy}"
    )

"""Mutations of valid inputs: of bytes, of JSON, of archives and of images."""

import contextlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

# What a person, or a damaged disk, may put in the place of a value.
NASTY: tuple[Any, ...] = (
  *(None, True, -1, 0, 1, 2, 10**30, -0.5, 1e-300, 1e300, float("nan")),
  *(float("inf"), "", "a", "../../a", "~", "none", "\x00", "x" * 5000, [], {}),
  *([[]], {"a": None}, [1, "a"], {"": {}}),
)


class Mutate(Protocol):
  """Makes another input of a valid one."""

  def __call__(self, rng: np.random.Generator, data: bytes, /) -> bytes:
    """Returns the other input."""


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
  """The bytes with one to four changes."""
  for _ in range(rng.integers(1, 5)):
    at, kind = int(rng.integers(len(data) + 1)), rng.integers(6)
    length = int(rng.integers(1, 1 << rng.integers(1, 9)))
    if kind == 0 and at < len(data):
      bit = bytes([data[at] ^ (1 << rng.integers(8))])
      data = data[:at] + bit + data[at + 1 :]
    elif kind == 1:
      data = data[:at] + rng.bytes(length) + data[at + length :]
    elif kind == 2:
      data = data[:at]
    elif kind == 3:
      data = data[:at] + data[at + length :]
    elif kind == 4:
      data = data[:at] + data[at : at + length] * 3 + data[at + length :]
    else:
      data = data[:at] + rng.bytes(length) + data[at:]
  return data


def changed(rng: np.random.Generator, value: Any) -> Any:
  """JSON with one value replaced, left out, or doubled."""
  if isinstance(value, dict) and value and rng.random() < 0.95:
    names = list(value)
    name = names[rng.integers(len(names))]
    kind = rng.integers(10)
    if kind == 0:
      return {n: v for n, v in value.items() if n != name}
    if kind == 1:
      return {**value, f"{name}_": value[name]}
    return {**value, name: changed(rng, value[name])}
  if isinstance(value, list) and value and rng.random() < 0.95:
    at = int(rng.integers(len(value)))
    kind = rng.integers(10)
    if kind == 0:
      return value[:at] + value[at + 1 :]
    if kind == 1:
      return value[:at] + [value[at]] + value[at:]
    return value[:at] + [changed(rng, value[at])] + value[at + 1 :]
  if isinstance(value, int | float) and rng.random() < 0.5:
    return value * float(rng.choice([-1, 0, 1e-30, 1e30, 1.5]))
  return NASTY[rng.integers(len(NASTY))]


def sealing(name: str, digest: Callable[[dict[str, Any]], str]) -> Mutate:
  """Changes bytes, or JSON values under a right digest of that name."""

  def mutate(rng: np.random.Generator, data: bytes) -> bytes:
    if rng.random() < 0.3:
      return mutated(rng, data)
    value = json.loads(data)
    for _ in range(rng.integers(1, 4)):
      value = changed(rng, value)
    if isinstance(value, dict) and rng.random() < 0.95:
      with contextlib.suppress(TypeError):  # no JSON: names of several types
        value[name] = digest(value)
    return json.dumps(value).encode()

  return mutate


def of_image(rng: np.random.Generator, data: bytes) -> bytes:
  """Changes bytes; half of the PNG files get right checksums again."""
  data = mutated(rng, data)
  start = b"\x89PNG\r\n\x1a\n"
  if not data.startswith(start) or rng.random() < 0.5:
    return data
  made, rest = start, data[len(start) :]
  while len(rest) >= 12:
    length = min(int.from_bytes(rest[:4], "big"), len(rest) - 12)
    body = rest[4 : 8 + length]
    made += length.to_bytes(4, "big") + body
    made += zlib.crc32(body).to_bytes(4, "big")
    rest = rest[12 + length :]
  return made


def of_archive(rng: np.random.Generator, data: bytes) -> bytes:
  """Changes bytes of the archive, or of an array with a right checksum."""
  if rng.random() < 0.3:
    return mutated(rng, data)
  stream = io.BytesIO()
  with zipfile.ZipFile(io.BytesIO(data)) as old:
    names = old.namelist()
    victim = names[rng.integers(len(names))]
    with zipfile.ZipFile(stream, "w") as new:
      for name in names:
        content = old.read(name)
        if name == victim:  # mostly its header
          head = 128 if rng.random() < 0.8 else len(content)
          content = mutated(rng, content[:head]) + content[head:]
        new.writestr(name, content)
  return stream.getvalue()


def of_values(rng: np.random.Generator, data: bytes) -> bytes:
  """JSON with one to three values changed."""
  value = json.loads(data)
  for _ in range(rng.integers(1, 4)):
    value = changed(rng, value)
  return json.dumps(value).encode()

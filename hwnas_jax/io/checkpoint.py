"""Checkpoints that resume a run bit for bit, or an error that says why not.

A directory has one folder for each stored step. The folder holds the leaves of
the state by path, and a sealed record: the schema, the digest of the leaves and
the caller's metadata. Orbax makes a save atomic but loads flipped bytes without
an error, so every restore checks the digest. Only one run may write to a
directory; all of its processes call `save`, and Orbax lets them wait for each
other.
"""

import errno
import hashlib
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from absl import logging
from orbax.checkpoint import v1 as ocp

from hwnas_jax.core import devices, hosts, tree

SCHEMA = 1
_LEFTOVER = "*.orbax-checkpoint-tmp*"  # of a save that was killed
# What Orbax writes beside the arrays: 122 arrays of 71 kB took 232 kB.
_RECORD_BYTES = 2**10  # of an array
_SPARE_BYTES = 2**18  # of a step
# Of two threads that saved at once, one closed the other's event loop.
_orbax = threading.Lock()

# What JSON can say.
JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]


class Restored(NamedTuple):
  """A checkpoint as it was saved.

  state: a pytree of JAX arrays and typed PRNG keys.
  metadata: what the caller saved beside it.
  """

  step: int
  state: Any
  metadata: dict[str, JSON]


def save(
  directory: str | pathlib.Path,
  step: int,
  state: chex.ArrayTree,
  metadata: Mapping[str, JSON],
  *,
  keep: int = 2,
) -> None:
  """Writes one step atomically, and deletes all but the newest `keep` steps.

  Returns when the step is on disk. Stored steps that are not before `step`
  (unreadable ones that a restore skipped, or those of an earlier run) are
  renamed `<step>.superseded`, with a warning.

  Args:
    directory: the folder of the run's steps, made where it is missing.
    step: number of the step, 0 or more.
    state: pytree of JAX arrays and typed PRNG keys.
    metadata: what else a resumed run needs.
    keep: number of steps to keep, 1 or more.

  Raises:
    OSError: the disk is full; earlier steps are as they were.
    ValueError: a leaf is not a JAX array, or has a weak type (a restored leaf
      has a strong type, which promotes differently); the state has no values;
      metadata is not JSON.
  """
  if step < 0 or keep < 1:
    raise ValueError(f"step {step} must be >= 0 and keep {keep} >= 1")
  leaves = tree.flatten(state)
  _check_leaves(leaves)
  host = {path: _host(leaf) for path, leaf in leaves.items()}
  record = _record(leaves, host, metadata)
  data = {path: array for path, array in host.items() if array.size}
  directory = pathlib.Path(directory).absolute()
  directory.mkdir(parents=True, exist_ok=True)
  with _orbax:
    _write(directory, step, data, record)
  if hosts.leads():
    shutil.rmtree(directory / f"{step}.superseded", ignore_errors=True)
    for old in steps(directory)[:-keep]:
      shutil.rmtree(directory / str(old))


def _write(
  directory: pathlib.Path,
  step: int,
  data: Mapping[str, np.ndarray],
  record: dict[str, Any],
) -> None:
  """Writes a step that was made ready, beside the steps before it."""
  if hosts.leads():
    for leftover in directory.glob(_LEFTOVER):
      shutil.rmtree(leftover)
    _require_space(directory, data)
    _set_aside(directory, step)
  hosts.wait()
  try:
    ocp.save(directory / str(step), data, custom_metadata=record)
  except Exception as error:  # TensorStore has no type for a full disk.
    if os.strerror(errno.ENOSPC) not in str(error):
      raise
    raise _full(directory) from error


def steps(directory: str | pathlib.Path) -> list[int]:
  """Lists the steps stored in a directory, oldest first."""
  folders = pathlib.Path(directory).glob("[0-9]*")
  return sorted(int(path.name) for path in folders if path.name.isdigit())


def restore_latest(
  directory: str | pathlib.Path, like: chex.ArrayTree
) -> Restored | None:
  """Reads the newest intact step; changes nothing on disk.

  A step that cannot be read, or whose digest is wrong, is skipped with a
  warning, and the step before it is tried.

  Args:
    directory: the folder of the run's steps.
    like: the state's structure, as ShapeDtypeStructs (`jax.eval_shape`) or
      arrays. Where its leaves are committed to a sharding, the state's leaves
      are placed by it.

  Returns:
    The step, its state bit for bit in the structure of `like`, and its
    metadata; None where no step was ever stored.

  Raises:
    ValueError: steps are stored, but none is intact and of this schema; or
      the newest intact one has other leaves than `like` (a line for each).
  """
  directory = pathlib.Path(directory).absolute()
  problems = []
  for step in reversed(steps(directory)):
    try:
      leaves, record = _read(directory / str(step))
    except Exception as error:  # Orbax has no one type for a damaged file.
      reason = (str(error) or type(error).__name__).splitlines()[0]
      problems.append(f"step {step}: {reason}")
      logging.warning("%s: skipped %s", directory, problems[-1])
      continue
    state = _rebuild(like, leaves, directory, step)
    return Restored(step, state, record["user"])
  # A save that was killed may have renamed the only step there was.
  problems += [
    f"{aside.name}: rename it to {aside.stem} to resume from it"
    for aside in directory.glob("*.superseded")
  ]
  if problems:
    raise ValueError(
      f"{directory} holds no checkpoint that can be read; to start from step 0,"
      " move the folder away:\n  " + "\n  ".join(problems)
    )
  return None


def metadata(directory: str | pathlib.Path) -> dict[str, JSON]:
  """What was saved beside the newest step whose record is intact.

  Returns:
    {} where there is no such step.
  """
  directory = pathlib.Path(directory).absolute()
  for step in reversed(steps(directory)):
    try:
      return _read_record(directory / str(step))["user"]
    except Exception as error:  # Orbax has no one type for a damaged file.
      logging.warning("%s: step %d has no record: %s", directory, step, error)
  return {}


def _check_leaves(leaves: dict[str, Any]) -> None:
  for path, leaf in leaves.items():
    if not isinstance(leaf, jax.Array):
      raise ValueError(f"{path}: {type(leaf).__name__}, not a JAX array")
    if getattr(leaf, "weak_type", False):  # Key arrays have no such field.
      raise ValueError(
        f"{path}: it has a weak type; give it a dtype: jnp.asarray(x, dtype)"
      )
  if not any(leaf.size for leaf in leaves.values()):
    raise ValueError("nothing to save: the state has no leaf with a value")


def _host(leaf: jax.Array) -> np.ndarray:
  return np.asarray(jax.random.key_data(leaf) if tree.is_key(leaf) else leaf)


def _record(
  leaves: dict[str, jax.Array],
  host: dict[str, np.ndarray],
  metadata: Mapping[str, JSON],
) -> dict[str, Any]:
  """How to undo `_host`, and the empty arrays, which Orbax does not save."""
  record = {
    "schema": SCHEMA,
    "digest": tree.digest(leaves),
    "keys": {
      path: str(jax.random.key_impl(leaf))
      for path, leaf in leaves.items()
      if tree.is_key(leaf)
    },
    "empty": {
      path: [array.shape, str(array.dtype)]
      for path, array in host.items()
      if not array.size
    },
    "user": metadata,
  }
  try:
    record = json.loads(json.dumps(record))
  except TypeError as error:
    raise ValueError(f"checkpoint metadata is not JSON: {error}") from error
  return record | {"seal": _seal(record)}


def _seal(record: dict[str, Any]) -> str:
  return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _require_space(
  directory: pathlib.Path, data: Mapping[str, np.ndarray]
) -> None:
  """Refuses to begin what a disk cannot hold: Orbax would print a traceback.

  Args:
    directory: where a step is written.
    data: what is written. Orbax compresses it, and adds its own records.
  """
  size = sum(array.nbytes + _RECORD_BYTES for array in data.values())
  if shutil.disk_usage(directory).free < size + _SPARE_BYTES:
    raise _full(directory)


def _full(directory: pathlib.Path) -> OSError:
  return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def _set_aside(directory: pathlib.Path, step: int) -> None:
  """Renames the stored steps that the run is about to make again."""
  for stale in steps(directory):
    if stale >= step:
      aside = directory / f"{stale}.superseded"
      logging.warning(
        "step %d is saved now: step %d is renamed %s", step, stale, aside
      )
      shutil.rmtree(aside, ignore_errors=True)
      (directory / str(stale)).rename(aside)


def _read_record(folder: pathlib.Path) -> dict[str, Any]:
  """The record of a step. A damaged file raises any exception."""
  with _orbax:
    record = ocp.metadata(folder).custom_metadata
  if not isinstance(record, dict) or "seal" not in record:
    raise ValueError("it has no record of hwnas_jax")
  if record.pop("seal") != _seal(record):
    raise ValueError("its record was changed")
  if record["schema"] != SCHEMA:
    raise ValueError(f"schema {record['schema']}, this version reads {SCHEMA}")
  return record


def _read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
  """(leaves by path, the record). A damaged file raises any exception."""
  record = _read_record(folder)
  with _orbax:
    leaves = ocp.load(folder)
  for path, (shape, dtype) in record["empty"].items():
    leaves[path] = np.zeros(shape, dtype)
  for path, impl in record["keys"].items():
    leaves[path] = jax.random.wrap_key_data(leaves[path], impl=impl)
  if tree.digest(leaves) != record["digest"]:
    raise ValueError("its arrays were changed")
  return leaves, record


def _rebuild(
  like: chex.ArrayTree,
  leaves: dict[str, Any],
  directory: pathlib.Path,
  step: int,
) -> Any:
  lines = tree.diff(like, leaves)
  if lines:
    raise ValueError(
      f"step {step} in {directory} is of another configuration; use the one it"
      " was saved with:\n  " + "\n  ".join(lines)
    )
  return jax.tree_util.tree_map_with_path(
    lambda keys, spec: _place(leaves[tree.path(keys)], spec), like
  )


def _place(leaf: Any, spec: Any) -> jax.Array:
  if not getattr(spec, "committed", True) or spec.sharding is None:
    return jax.device_put(leaf)
  return devices.put(leaf, spec.sharding)

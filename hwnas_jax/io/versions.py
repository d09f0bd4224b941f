"""The origin of a result: versions of the software, and the device."""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess

import jax

import hwnas_jax
from hwnas_jax.io.records import Device, MadeWith

_PACKAGES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "chex",
  "numpy",
  "tensorflow-datasets",
)


def versions() -> dict[str, str | None]:
  """Lists the versions a result depends on.

  Returns:
    Version by package, with `python`, `platform` (operating system) and `git`
    (commit of this package's own checkout, `-dirty` if it was changed). None
    where a package is not installed, or there is no checkout.
  """
  packages = {name: _version(name) for name in _PACKAGES}
  return {
    "python": platform.python_version(),
    **packages,
    "hwnas_jax": hwnas_jax.__version__,
    "git": _git_commit(pathlib.Path(__file__).parents[2]),
    "platform": platform.platform(),
  }


def device_fingerprint() -> Device:
  """Describes JAX's default device: all that a latency on it depends on.

  Returns:
    cpu_model and cpu_cores are None on an accelerator, and platform_version is
    None where the runtime gives none.
  """
  (device,) = jax.device_put(0).devices()
  is_cpu = device.platform == "cpu"
  return Device(
    platform=device.platform,
    device_kind=device.device_kind,
    platform_version=device.client.platform_version,
    cpu_model=_cpu_model() if is_cpu else None,
    cpu_cores=_cpu_cores() if is_cpu else None,
    jaxlib=_version("jaxlib"),
    xla_flags=os.environ.get("XLA_FLAGS", ""),
  )


def fingerprint_id(device: Device) -> str:
  """Names a device, for people and for files.

  Args:
    device: what `device_fingerprint` returned, or a runner's, from a file.

  Returns:
    A slug and 8 hexadecimal digits of the hash of all that describes the
    device, such as `cpu-amd-epyc-2core-1a2b3c4d`.
  """
  others = _OF_RUNNER if device.providers else _OF_JAX
  described = {name: getattr(device, name) for name in (*_OF_ALL, *others)}
  text = json.dumps(described, sort_keys=True)
  words = device.cpu_model or device.device_kind
  words = re.sub(r"\((R|TM)\)|CPU|Processor|@.*|\d+-Core", " ", words)
  name = f"{device.platform} {words[:40]}"
  if device.cpu_cores:
    name += f" {device.cpu_cores}core"
  name += " " + hashlib.sha256(text.encode()).hexdigest()[:8]
  return re.sub(r"[^a-z0-9]+", "-", name.lower())


def made_with() -> MadeWith:
  """The versions and the device of a result made now, here."""
  device = device_fingerprint()
  return MadeWith(versions(), device, fingerprint_id(device))


# What a device's name depends on: the hash is over exactly these fields, so a
# field added to Device leaves the names of known devices as they are.
_OF_ALL = (
  "platform",
  "device_kind",
  "platform_version",
  "cpu_model",
  "cpu_cores",
)
_OF_JAX = ("jaxlib", "xla_flags")
_OF_RUNNER = ("system", "providers", "threads")


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git_commit(root: pathlib.Path) -> str | None:
  top = _git(root, "rev-parse", "--show-toplevel")
  # An installed package may lie inside a checkout of something else.
  if top is None or pathlib.Path(top) != root.resolve():
    return None
  return _git(
    root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
  )


def _git(root: pathlib.Path, *arguments: str) -> str | None:
  try:
    run = subprocess.run(
      ["git", "-C", str(root), *arguments],
      capture_output=True,
      check=True,
      text=True,
      timeout=2,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return run.stdout.strip()


def _cpu_model() -> str:
  try:
    info = pathlib.Path("/proc/cpuinfo").read_text()
  except OSError:
    info = ""
  line = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
  return line[1] if line else platform.processor() or platform.machine()


def _cpu_cores() -> int:
  if hasattr(os, "sched_getaffinity"):  # Linux only.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1

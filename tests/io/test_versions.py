import hashlib
import json
import os
import re
import subprocess

import jax
import pytest

import hwnas_jax
from hwnas_jax.io import records, versions
from hwnas_jax.io.records import Device, MadeWith


def test_versions_are_those_running():
  found = versions.versions()
  assert found["jax"] == jax.__version__
  assert re.fullmatch(r"3\.\d+\.\d+.*", found["python"])
  assert {"orbax-checkpoint", "hwnas_jax", "git", "platform"} < set(found)
  assert found["hwnas_jax"] == hwnas_jax.__version__
  assert json.loads(json.dumps(found)) == found


def test_package_not_installed_is_none(monkeypatch):
  monkeypatch.setattr(versions, "_PACKAGES", ("no-such-package-here",))
  assert versions.versions()["no-such-package-here"] is None


def _git(folder, *arguments):
  options = ("-c", "user.name=x", "-c", "user.email=x@x")
  run = subprocess.run(
    ["git", "-C", str(folder), *options, *arguments],
    check=True,
    capture_output=True,
    text=True,
  )
  return run.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
  _git(tmp_path, "init")
  (tmp_path / "file").write_text("1")
  _git(tmp_path, "add", "file")
  _git(tmp_path, "commit", "-m", "one")
  _git(tmp_path, "tag", "-a", "v1", "-m", "v1")
  return tmp_path


def test_commit_of_the_checkout_and_whether_it_was_changed(checkout):
  head = _git(checkout, "rev-parse", "HEAD")
  assert versions._git_commit(checkout) == head
  (checkout / "file").write_text("2")
  assert versions._git_commit(checkout) == head + "-dirty"


def test_no_commit_outside_a_checkout_or_within_another(checkout, monkeypatch):
  (checkout / "site-packages").mkdir()
  assert versions._git_commit(checkout / "site-packages") is None
  assert versions._git_commit(checkout / "missing") is None
  monkeypatch.setenv("PATH", "")
  assert versions._git_commit(checkout) is None


def test_fingerprint_is_of_the_default_device(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "--xla_something=1")
  found = versions.device_fingerprint()
  assert found.platform == jax.default_backend()
  assert found.xla_flags == "--xla_something=1"
  text = json.dumps(records.to_json(found))
  assert records.from_json("x", json.loads(text), Device) == found
  if found.platform == "cpu":
    assert found.cpu_model
    assert 1 <= found.cpu_cores <= os.cpu_count()
  else:
    assert found.cpu_model is None and found.cpu_cores is None


def _fingerprint(**changes):
  fields = {
    "platform": "cpu",
    "device_kind": "cpu",
    "platform_version": None,
    "cpu_model": "Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz",
    "cpu_cores": 2,
    "jaxlib": "0.10.2",
    "xla_flags": "",
  }
  return Device(**{**fields, **changes})


def test_name_of_a_cpu_and_of_a_gpu():
  assert re.fullmatch(
    "cpu-intel-xeon-gold-6148-2core-[0-9a-f]{8}",
    versions.fingerprint_id(_fingerprint()),
  )
  assert re.fullmatch(
    "cpu-amd-epyc-7b13-2core-[0-9a-f]{8}",
    versions.fingerprint_id(
      _fingerprint(cpu_model="AMD EPYC 7B13 64-Core Processor")
    ),
  )
  gpu = {"device_kind": "NVIDIA H200", "cpu_model": None, "cpu_cores": None}
  assert re.fullmatch(
    "gpu-nvidia-h200-[0-9a-f]{8}",
    versions.fingerprint_id(_fingerprint(platform="gpu", **gpu)),
  )


@pytest.mark.parametrize(
  "change", [{"cpu_cores": 3}, {"jaxlib": "0.11"}, {"xla_flags": "-x"}]
)
def test_name_tells_fingerprints_apart(change):
  names = {versions.fingerprint_id(_fingerprint(**c)) for c in ({}, change)}
  assert len(names) == 2


def _digits(described):
  text = json.dumps(described, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def test_names_are_those_of_earlier_versions():
  """The hash is of what a device was described by, field for field."""
  device = _fingerprint(cpu_model=None, cpu_cores=None)
  described = {
    name: getattr(device, name)
    for name in (
      "platform",
      "device_kind",
      "platform_version",
      "cpu_model",
      "cpu_cores",
      "jaxlib",
      "xla_flags",
    )
  }
  assert versions.fingerprint_id(device).endswith(_digits(described))
  runner = {
    "platform": "onnxruntime",
    "device_kind": "toy board",
    "platform_version": "1.0",
    "cpu_model": "toy board",
    "cpu_cores": 2,
    "system": "Linux",
    "providers": ["CPUExecutionProvider"],
    "threads": 0,
  }
  device = records.from_json("x", runner, Device)
  name = versions.fingerprint_id(device)
  assert name == f"onnxruntime-toy-board-2core-{_digits(runner)}"


def test_made_with_is_versions_and_device():
  made_with = versions.made_with()
  device = versions.device_fingerprint()
  assert made_with == MadeWith(
    versions.versions(), device, versions.fingerprint_id(device)
  )

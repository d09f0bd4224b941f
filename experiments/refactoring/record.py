"""Records digests of what every config's smoke computes, to be compared.

python experiments/refactoring/record.py --out=before.json [--only=digits,...]
python experiments/refactoring/record.py --compare before.json after.json

It reads only the run folders and imports nothing of the package, so it works
before and after a change of the package's modules.
"""

import argparse
import concurrent.futures
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time

os.environ["JAX_PLATFORMS"] = "cpu"

import numpy as np
from orbax.checkpoint import v1 as ocp

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# Part of the record: other settings compile other programs.
SETTINGS = {
  "JAX_PLATFORMS": "cpu",
  "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  # One thread a matrix product: the number of cores cannot change a sum.
  "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
# Configs whose smoke trains no network train each for a few steps here.
TRAIN = (
  "--config.train.num_steps=4",
  "--config.train.checkpoint_every=4",
  "--config.train.steps_per_dispatch=2",
  "--config.train.batch_size=8",
)
# The table of a config, by its latency.batch_size; 8 where none is named.
BATCH = {"digits": 32, "custom_space": 64}
PACKAGES = "jax jaxlib flax optax orbax-checkpoint numpy ml_collections".split()
# What differs between two machines or settings, and so between their bits.
COMPARABLE = ("processor", "python", "versions", "settings", "tables")


def configs():
  """{name: FILE:smoke}, files relative to the repository's root."""
  files = sorted([*ROOT.glob("configs/*.py"), *ROOT.glob("configs/methods/*")])
  found = {
    str(f.relative_to(ROOT / "configs").with_suffix("")): f
    for f in files
    if f.suffix == ".py"
  }
  found["custom_space"] = ROOT / "experiments/custom_space/config.py"
  return {n: f"{f.relative_to(ROOT)}:smoke" for n, f in found.items()}


def table(name):
  """The table that a config is given."""
  return HERE / "tables" / f"batch_{BATCH.get(name, 8)}.json"


def flags(name):
  """What is set beside the smoke's own fields."""
  return TRAIN if name.startswith("methods/") else ()


def digest_arrays(arrays):
  """SHA-256 of arrays, each with its shape and dtype, in a canonical order.

  The order is that of shape, dtype and bytes, and names are left out: a module
  or a parameter that is renamed leaves the digest as it is, and any bit that
  changes does not. Only two arrays of one shape that changed places are not
  seen; the losses that are recorded beside show those.
  """
  parts = sorted(
    (a.shape, a.dtype.str, a.tobytes()) for a in map(np.asarray, arrays)
  )
  sha = hashlib.sha256()
  for shape, dtype, data in parts:
    sha.update(f"{shape} {dtype}\n".encode() + data)
  return f"{len(parts)} arrays {sha.hexdigest()}"


def digest_json(values):
  """SHA-256 of lists of numbers; floats as their shortest exact text."""
  return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def digest_search(folder):
  """A digest of each part of the search's last state, and of its losses."""
  steps = [p for p in (folder / "checkpoints").iterdir() if p.name.isdigit()]
  leaves = ocp.load(max(steps, key=lambda p: int(p.name)).absolute())
  parts = {}
  for path, leaf in leaves.items():
    parts.setdefault(re.split(r"[/.]", path)[0], []).append(leaf)
  found = {part: digest_arrays(arrays) for part, arrays in parts.items()}
  return found | {"losses": digest_losses(folder)}


def digest_losses(folder):
  """The loss of every dispatch: what the names of arrays cannot hide."""
  rows = (folder / "metrics.jsonl").read_text().splitlines()
  return digest_json([json.loads(row)["loss"] for row in rows])


def digest_networks(folder):
  """Architectures and trained weights, in the order of family.json."""
  family = json.loads((folder / "family.json").read_text())
  choices, ops = family["choices"], family["ops"]
  members, weights, losses = {}, {}, {}
  # Which network is the largest that fits depends on measured times.
  rows = [r for r in family["members"] if r["kind"] in ("member", "random")]
  for row in rows:
    kind = row["kind"]
    name = f"{kind} {sum(n.startswith(kind) for n in members)}"
    chosen = row["architecture"]
    # The index of the operation of each choice, -1 where there is none.
    genotype = [ops.index(chosen[c]) if c in chosen else -1 for c in choices]
    members[name] = " ".join(map(str, genotype))
    home = folder / "networks" / row["id"]
    if not (home / "weights.npz").exists():
      continue  # not trained
    with np.load(home / "weights.npz") as arrays:
      weights[name] = digest_arrays(arrays.values())
    losses[name] = digest_losses(home)
  order = [row["id"] for row in rows]
  return {
    # Written out, so that a difference can be read.
    "architectures": members,
    "member of each condition": [
      order.index(p["id"]) if p["id"] in order else "dead"
      for p in family["sweep"]
    ],
    "weights": weights,
    "losses": losses,
    "accuracies": digest_json(
      [row["accuracies"]["test_accuracy"] for row in rows]
    ),
    "counted costs": digest_json(
      [[row["params"], row["macs"], row["predicted_ms"]] for row in rows]
    ),
  }


def record(name, cache):
  """Runs a config's smoke in a process of its own; returns its digests."""
  environment = os.environ | SETTINGS
  environment["HWNAS_CACHE_DIR"] = str(cache)
  environment["JAX_COMPILATION_CACHE_DIR"] = str(cache / "xla")
  environment["PYTHONPATH"] = str(ROOT)
  with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, "-m", "hwnas_jax.main"]
    command += [f"--config={configs()[name]}", f"--workdir={folder}/run"]
    command += ["--config.seed=0", f"--config.latency.table={table(name)}"]
    command += flags(name)
    start = time.perf_counter()
    done = subprocess.run(
      command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    wall_s = time.perf_counter() - start
    if done.returncode:
      raise RuntimeError(f"{name}:\n{done.stdout}{done.stderr}")
    run = pathlib.Path(folder, "run")
    return {
      "flags": list(flags(name)),
      "wall_s": round(wall_s, 1),
      "search": digest_search(run / "search"),
      "networks": digest_networks(run),
    }


def digest_times(path):
  """What a table says of each site, however its file is laid out."""
  names = ("op", "height", "width", "channels_in", "channels_out", "stride")
  rows = [
    [row.get(name, "") for name in (*names, "program", "latency_ms")]
    for row in json.loads(path.read_text())["entries"]
  ]
  return digest_json(rows)


def about():
  """What the digests depend on beside the code."""
  cpu = pathlib.Path("/proc/cpuinfo")
  text = cpu.read_text() if cpu.exists() else ""
  model = re.search(r"model name\s*:\s*(.+)", text)
  git = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
  git = [*git, "--exclude=*"]
  tables = sorted((HERE / "tables").glob("*.json"))
  return {
    "commit": subprocess.check_output(git, cwd=ROOT, text=True).strip(),
    "processor": model[1] if model else platform.processor(),
    "python": platform.python_version(),
    "versions": {p: importlib.metadata.version(p) for p in PACKAGES},
    "settings": SETTINGS,
    "tables": {p.name: digest_times(p) for p in tables},
  }


def record_all(out, names, cache):
  """Records what `out` lacks, two configs at a time."""
  document = about() | {"configs": {}}
  if out.exists():
    document = json.loads(out.read_text())
    here = about()
    differing = [k for k in here if document[k] != here[k]]
    if differing:
      sys.exit(f"{out} is of another {', '.join(differing)}: delete it")
  lock = threading.Lock()

  def one(name):
    found = record(name, cache)
    with lock:
      document["configs"][name] = found
      out.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
      print(f"{name}: {found['wall_s']} s", flush=True)

  todo = [n for n in names if n not in document["configs"]]
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    futures = {n: pool.submit(one, n) for n in todo}
  failed = {n: f.exception() for n, f in futures.items() if f.exception()}
  for error in failed.values():
    print(error, file=sys.stderr)
  if failed:
    sys.exit(f"failed: {', '.join(failed)}")


def flatten(value, path=""):
  """{path: leaf} of JSON objects in JSON objects."""
  if not isinstance(value, dict):
    return {path: value}
  return {
    name: leaf
    for key, part in value.items()
    for name, leaf in flatten(part, f"{path}/{key}" if path else key).items()
  }


def compare(before, after):
  """Prints a row a config; returns the number of differences."""
  old, new = (json.loads(p.read_text()) for p in (before, after))
  print(f"{before.name}: {old['commit']}\n{after.name}: {new['commit']}")
  problems = 0
  for key in COMPARABLE:
    if old[key] != new[key]:
      print(f"not comparable: {key} {old[key]} and {new[key]}")
      problems += 1
  print("\n| config | digests | result |\n|---|---|---|")
  for name in sorted(old["configs"] | new["configs"]):
    parts = [flatten(d["configs"].get(name, {})) for d in (old, new)]
    left, right = ({k: v for k, v in p.items() if k != "wall_s"} for p in parts)
    keys = sorted(left | right)
    differing = [k for k in keys if left.get(k) != right.get(k)]
    if not (name in old["configs"] and name in new["configs"]):
      differing = ["only one has it"]
    problems += len(differing)
    result = ", ".join(differing) or "same"
    print(f"| {name} | {len(keys)} | {result} |")
  return problems


def main():
  """Records, or compares two records."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--out", type=pathlib.Path, help="a record, new or begun")
  parser.add_argument("--only", default="", help="names of configs, by commas")
  parser.add_argument(
    "--cache",
    type=pathlib.Path,
    default=pathlib.Path(tempfile.gettempdir(), "hwnas_jax_refactoring"),
    help="folder of compiled programs",
  )
  parser.add_argument("--compare", nargs=2, type=pathlib.Path)
  given = parser.parse_args()
  if given.compare:
    sys.exit(1 if compare(*given.compare) else 0)
  if not given.out:
    parser.error("give --out or --compare")
  names = given.only.split(",") if given.only else list(configs())
  unknown = sorted(set(names) - set(configs()))
  if unknown:
    parser.error(f"no config {', '.join(unknown)}; known: {[*configs()]}")
  record_all(given.out, names, given.cache.resolve())


if __name__ == "__main__":
  main()

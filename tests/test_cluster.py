"""The files in docs/cluster, run with stand-ins for the cluster's programs."""

import configparser
import os
import re
import subprocess
from typing import NamedTuple

import pytest
import yaml
from jobs import ROOT, here

import hwnas_jax as hw
from hwnas_jax.config import checks, files
from hwnas_jax.config.fields import Config
from hwnas_jax.core import hosts

FOLDER = ROOT / "docs" / "cluster"
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
# Of the commands only `python` is looked at; it has to be reached.
PROGRAMS = {
  "python": 'printf "%s\\n" "$TFDS_DATA_DIR" "$@" >"$SAID"',
  "python3": 'for a; do [[ $a != --wheel* ]] || touch "${a#*=}/a.whl"; done',
  "srun": 'while [[ $1 == -* ]]; do shift; done; exec "$@"',
  "gcloud": 'for a; do [[ $a != --command=* ]] || bash -c "${a#*=}"; done',
}


class Job(NamedTuple):
  """data_dir: what TFDS_DATA_DIR is; place: the arguments of `hosts.join`."""

  data_dir: str
  config: Config
  workdir: str
  place: tuple


@pytest.fixture
def job(tmp_path, monkeypatch):
  """A function of a command, with variables: the main job that it starts."""
  programs = tmp_path / "programs"
  programs.mkdir()
  for name, text in PROGRAMS.items():
    (programs / name).write_text(f"#!/bin/bash\nset -eu\n{text}\n")
    (programs / name).chmod(0o755)
  for name in (".venv", "venv"):
    (tmp_path / name / "bin").mkdir(parents=True)
    (tmp_path / name / "bin" / "activate").touch()

  def run(command, **variables):
    said, path = tmp_path / "said", f"{programs}:{os.environ['PATH']}"
    environment = {"PATH": path, "SAID": str(said), "HOME": "/me"}
    environment |= {"TMPDIR": str(tmp_path)}
    subprocess.run(
      command, cwd=tmp_path, env=environment | variables, check=True
    )
    data_dir, dash, module, *arguments = said.read_text().splitlines()
    assert (dash, module) == ("-m", "hwnas_jax.main")
    found = {}
    monkeypatch.setattr(hosts, "join", lambda *place: found.update(place=place))
    monkeypatch.setattr(hosts, "leads", lambda: False)
    monkeypatch.setattr(
      hw,
      "search",
      lambda config, workdir, command: found.update(
        config=files.typed(config), workdir=workdir
      ),
    )
    here("search", *arguments)
    return Job(data_dir=data_dir, **found)

  return run


def check(job, data_dir, workdir):
  """What holds for every job."""
  checks.check(job.config)
  assert job.config.data.name == "tfds:imagenet2012"
  assert (job.data_dir, job.workdir) == (data_dir, workdir)


def test_slurm(job):
  text = (FOLDER / "slurm.sh").read_text()
  options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", text, re.M))
  cores = options["cpus-per-task"]
  made = job(["bash", FOLDER / "slurm.sh"], SLURM_CPUS_PER_TASK=cores)
  check(made, "/me/tensorflow_datasets", "/me/runs/imagenet")
  assert made.place == ("", None, None)
  assert options["ntasks-per-node"] == options["gpus-per-node"]
  gpus = int(options["nodes"]) * int(options["gpus-per-node"])
  assert made.config.devices == gpus
  assert made.config.data.workers < int(cores)


def test_tpu(job):
  made = job(["bash", FOLDER / "tpu.sh"])
  shared = "/mnt/shared"
  check(made, f"{shared}/tensorflow_datasets", f"{shared}/runs/imagenet")
  assert made.place == ("", None, None)
  assert made.config.latency.table == f"{shared}/table.json"


def test_jobset(job):
  document = yaml.safe_load((FOLDER / "jobset.yaml").read_text())
  name, (group,) = (
    document["metadata"]["name"],
    document["spec"]["replicatedJobs"],
  )
  spec = group["template"]["spec"]
  count, pod = spec["parallelism"], spec["template"]["spec"]
  (container,) = pod["containers"]
  variables = {row["name"]: row["value"] for row in container["env"]}
  made = job(container["command"], JOB_COMPLETION_INDEX="1", **variables)
  check(made, "/runs/tensorflow_datasets", "/runs/imagenet")
  first = f"{name}-{group['name']}-0-0.{name}"  # JobSet's name of a pod
  assert made.place == (f"{first}:1234", count, 1)
  assert spec["completions"] == count
  asked = container["resources"]
  assert made.config.devices == count * asked["limits"]["nvidia.com/gpu"]
  assert made.config.data.workers < asked["requests"]["cpu"]
  volumes = {volume["name"]: volume for volume in pod["volumes"]}
  mounted = {
    mount["mountPath"]: volumes[mount["name"]]
    for mount in container["volumeMounts"]
  }
  assert mounted["/dev/shm"]["emptyDir"]["medium"] == "Memory"
  assert "persistentVolumeClaim" in mounted["/runs"]


def test_the_image_has_what_the_package_is_built_of():
  text = (FOLDER / "Dockerfile").read_text()
  lines = [line.split()[:-1] for line in re.findall(r"^COPY (.+)$", text, re.M)]
  copied = {source for line in lines for source in line}
  assert all((ROOT / source).exists() for source in copied)
  metadata, options = SETUP["metadata"], SETUP["options"]
  folders = re.findall(r"= (\w+)$", options["package_dir"], re.M)
  readme = metadata["long_description"].removeprefix("file: ")
  others = {"setup.cfg", "pyproject.toml", readme, metadata["license_files"]}
  assert copied == others | set(folders)


@pytest.mark.parametrize("name", ["slurm.sh", "tpu.sh", "Dockerfile"])
def test_extras_are_those_of_the_package(name):
  (asked,) = re.findall(r"\[([a-z0-9,]+)\]'", (FOLDER / name).read_text())
  wanted = set(asked.split(","))
  assert wanted <= set(SETUP["options.extras_require"])
  assert "streaming" in wanted

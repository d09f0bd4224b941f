#!/bin/bash
# A search on a Cloud TPU slice of 16 chips, a process for each host. From a
# checkout, where gcloud is logged in: bash docs/cluster/tpu.sh
# Given again, it goes on where it was. The latency table is measured before, on
# one TPU of the same kind, where hwnas_jax is installed as below:
#   python -m hwnas_jax.profile --backend=tpu --config=imagenet --out=table.json

# Set these three.
name=hwnas zone=us-central1-a  # of the slice
shared=/mnt/shared  # a file system that all hosts mount; it has
#   tensorflow_datasets/  imagenet2012, as array_record
#   table.json            the latency table

set -euo pipefail
# The hosts get a wheel of the checkout, and by uv a Python that is new enough.
wheels=$(mktemp -d)
python3 -m pip wheel --quiet --no-deps --wheel-dir="$wheels" .
wheel=$(basename "$wheels"/*.whl)
all=("--zone=$zone" --worker=all)
gcloud compute tpus tpu-vm scp "$wheels/$wheel" "$name:" "${all[@]}"
gcloud compute tpus tpu-vm ssh "$name" "${all[@]}" --command="
  set -e
  python3 -m pip install --quiet uv
  python3 -m uv venv --quiet --allow-existing --python=3.12 venv
  python3 -m uv pip install --quiet --python=venv/bin/python \
    --reinstall-package=hwnas_jax './$wheel[tpu,streaming]'
  source venv/bin/activate
  export TFDS_DATA_DIR='$shared/tensorflow_datasets'
  python -m hwnas_jax.main --distributed --config=imagenet:tpu \
    --config.devices=16 --config.latency.table='$shared/table.json' \
    --workdir='$shared/runs/imagenet'"

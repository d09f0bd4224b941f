#!/bin/bash
# A search on a Cloud TPU slice, one process a host:
#   NAME=hwnas ZONE=us-central1-a bash docs/cluster/tpu.sh
# The table is measured before, on a TPU of the same kind:
#   python -m hwnas_jax.profile --backend=tpu --config=imagenet --out=table.json
set -e
gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="
  pip install -q 'hwnas_jax[tpu,streaming]' &&
  python -m hwnas_jax.main --distributed --config=imagenet:tpu \
    --config.devices=16 --config.latency.table=/mnt/shared/table.json \
    --workdir=/mnt/shared/imagenet"

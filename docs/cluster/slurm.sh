#!/bin/bash
# A search on 2 hosts of 8 GPUs each, a process for each GPU. From a checkout on
# a file system that all hosts see, with grain and JAX for CUDA:
#   python3 -m venv .venv && .venv/bin/pip install -e '.[cuda12,streaming]'
#   sbatch docs/cluster/slurm.sh
# Sent again, it goes on where it was: SLURM's signal saves a checkpoint.
#SBATCH --job-name=hwnas
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@180
#SBATCH --requeue

# Set these two: all hosts see them.
export TFDS_DATA_DIR=$HOME/tensorflow_datasets  # imagenet2012, as array_record
workdir=$HOME/runs/imagenet

set -euo pipefail
source .venv/bin/activate  # a job starts in the folder that it was sent from
# srun does not take --cpus-per-task from above. Each process has its workers.
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  python -m hwnas_jax.main --distributed --config=imagenet:gpu8 \
  --config.devices=16 --config.data.workers=6 --workdir="$workdir"

#!/bin/bash
# A search on 2 hosts of 8 GPUs each, a process for each GPU: sbatch docs/cluster/slurm.sh
# Sent again, it goes on where it was: SLURM's signal saves a checkpoint.
#SBATCH --job-name=hwnas
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@180
#SBATCH --requeue

# The folder is on a file system that all hosts see. Workers are of each process.
srun --kill-on-bad-exit=1 python -m hwnas_jax.main --distributed \
  --config=imagenet:gpu8 --config.devices=16 --config.data.workers=7 \
  --workdir="$HOME/runs/imagenet"

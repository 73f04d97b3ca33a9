#!/bin/bash
# Two nodes of four GPUs each, a task per GPU: `sbatch docker/slurm.sh configs/....yaml [more arguments of fit]`.
# SLURM sends SIGUSR1 to every task 90 s before the time is up. The program then writes a checkpoint and exits with 75;
# the job goes back into the queue, under the same id, and so goes on from that checkpoint.
#SBATCH --job-name=coordconv
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@90
#SBATCH --requeue
#SBATCH --open-mode=append
set -o nounset

srun lightning-coordconv fit --config="$1" \
  --trainer.strategy=ddp --trainer.devices="$SLURM_NTASKS_PER_NODE" --trainer.num_nodes="$SLURM_NNODES" \
  --trainer.logger.init_args.version="job_$SLURM_JOB_ID" --ckpt_path=last "${@:2}"
code=$?
if [ "$code" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"

#!/bin/bash
# Two nodes of four GPUs each, one task for each GPU: `sbatch docker/slurm.sh CONFIG [more arguments of fit]`.
# SLURM sends SIGUSR1 to every task 90 s before the time limit. The program then writes a checkpoint and exits with 75.
# The job is requeued under the same id and resumes from that checkpoint.
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

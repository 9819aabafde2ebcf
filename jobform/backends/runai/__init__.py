"""Run:ai: the job API of a cluster, and the workloads API of the control plane."""

"""Ray: the cluster, pools, trials, budgets."""

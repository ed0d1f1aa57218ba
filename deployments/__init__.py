"""Where the flows run: server, work pool, deployments, automations and worker, for this host."""

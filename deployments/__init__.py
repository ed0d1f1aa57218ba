"""Run the flows: Prefect server, deployments, automations and worker."""

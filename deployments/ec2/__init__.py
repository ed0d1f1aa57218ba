"""One small host that runs everything: server, worker and flows."""

"""A published dataset: card, manifest, preview, publishing and fetching."""

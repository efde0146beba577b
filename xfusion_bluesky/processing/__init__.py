"""What happens to a run after its documents: the catalogue's server, the service, the engine."""

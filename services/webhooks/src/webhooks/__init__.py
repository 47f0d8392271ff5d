"""Events over HTTP for those who cannot hold a connection."""

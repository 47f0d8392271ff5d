"""Read models of the season."""

"""Rule sets, the points ledger, standings."""

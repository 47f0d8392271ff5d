"""The one door: identity, limits, routing, live streams."""

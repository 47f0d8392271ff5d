"""What `analytics` publishes: nothing yet. `analytics.session.ready` arrives with laps and telemetry."""

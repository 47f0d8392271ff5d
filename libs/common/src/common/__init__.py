"""What every Paddock service stands on. No module here knows the game, but for `contracts`."""

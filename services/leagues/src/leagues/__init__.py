"""Leagues, teams and line-ups."""

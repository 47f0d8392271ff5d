"""Embedded servers and the process supervisor behind `make run`."""

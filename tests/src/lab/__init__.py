"""Processes of the bus that tests may kill, stop and freeze, and what they write down."""

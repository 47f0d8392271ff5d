"""The command for operators and for generated documents."""

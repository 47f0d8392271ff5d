"""A mail server for development that delivers nothing and shows everything."""

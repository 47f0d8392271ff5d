"""What the tests of access stand on: all services and the gateway in one process, who calls them, and bad tokens."""

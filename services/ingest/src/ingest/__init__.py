"""The one place where race data enters."""

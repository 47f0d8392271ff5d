"""An upstream simulator that answers as Jolpica does."""

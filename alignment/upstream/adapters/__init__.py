"""How each original is called: names, arguments and calls. Imported in the original's own process only."""

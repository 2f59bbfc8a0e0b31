"""Two networks in memory, a table of names, a batch: is the port equal, and if not, where does it begin?"""

def allowances(manifest): return []

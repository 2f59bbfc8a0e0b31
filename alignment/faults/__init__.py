"""Faults that real ports suffer, planted on purpose: does the harness see each one, and say where it is?

``python -m alignment faults [SYSTEM|all]``. ``catalogue.py`` lists them, ``session.py`` plants them in one Paddle
process a case, ``matrix.py`` judges, ``page.py`` writes.
"""

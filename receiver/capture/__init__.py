"""Captures: recorded deliveries in one portable file, a tar archive that is made reproducibly.

deploy/CAPTURES.md is the format, field by field.
"""

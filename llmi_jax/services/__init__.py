"""Calling what can fail and keeping what it said: pictures, records, journal, cache, limits."""

"""Requests that are answered at once, see :mod:`jobs.requests`."""

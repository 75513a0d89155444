"""Facts of jobs that the web app and the workers share: their kinds, their queue, their log.

Imports no torch, so that the web app may import it.
"""

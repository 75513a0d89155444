"""What the web app and the workers both know of jobs: their kinds, their queue, their log.

Imports no torch, so that the web app may import it.
"""

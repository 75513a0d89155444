"""Models, sparse coders and corpora looked at before they are loaded.

Reads names, JSON files and the headers of weights only, and needs no torch: the web server refuses
at the form what a worker could not load. A name on a hub is taken as it is. The worker looks there.
"""

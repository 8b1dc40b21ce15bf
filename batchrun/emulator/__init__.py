"""The provider's API on this machine: free previews, rehearsals, and the server that every test talks to.

It shares no code with the client, the queue or the run, and keeps its own bill: a mistake cannot hide in both.
"""

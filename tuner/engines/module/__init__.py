"""Engines that run a torch module in processes of ours: what a model is, the programs that serve it, their processes.

The process that measures imports no torch: `peer.py` talks to `child.py`, which runs alone in a process of its own.
"""

"""What tests of tuner, and of what others plug into it, are made of: contract suites and toy tunables.

A contract suite is a class to inherit from. Only tests import this; it needs pytest and hypothesis.
"""

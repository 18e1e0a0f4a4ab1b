"""One run on a GPU: launch, check, tune, and compare with what the GPU's users have today.

A step prints its table and writes its JSON as soon as it is done, so that a run that is cut off has told something.
"""

"""One file a version of the tables, numbered in order."""

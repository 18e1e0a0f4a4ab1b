"""How a kernel's source becomes something that can be called: one module a toolchain (build, load, launch).

No operator is known here, and nothing is checked or timed.
"""

"""A campaign as one page: what was won, whether it is true, what mattered, what failed, what to do next.

Everything comes from the store; nothing here loads a kernel or measures. `data` gathers values, `chart` draws them,
`page` and `picture` write files. Those that draw need the extra `report`, which `library` loads when it is used.
"""

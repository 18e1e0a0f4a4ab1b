"""The read API over HTTP, for callers that are not Python: which config, which winners, which misses.

A lookup answers and a store lists; nothing here tunes, builds or writes. `app` and `schema` need the extra `service`,
which `serve` loads when it is used. Campaigns over HTTP and a dashboard would be routers of their own beside `app`'s.
"""

"""Servers for the tests of those who use the service: `plugin` has pytest's fixtures, `embedded` a server in the
test's own process. Nothing is imported here: every run of pytest imports the plugin, whether it needs it or not.
"""

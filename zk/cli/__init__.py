"""The `zk` command."""

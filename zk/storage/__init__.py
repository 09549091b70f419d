"""The log and the snapshots on disk: segment codec (pure), recovery, retention, and the files themselves."""

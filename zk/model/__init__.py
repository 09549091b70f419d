"""Values that every floor shares: paths, stats, ACLs, requests, replies, watch events, errors, limits. No behaviour
beyond their own rules."""

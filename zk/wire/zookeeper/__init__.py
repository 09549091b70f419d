"""ZooKeeper's own wire protocol: its clients find here what they know, translated to the model's requests and back."""

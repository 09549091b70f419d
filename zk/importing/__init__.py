"""What is brought here from elsewhere: ZooKeeper's data directories, live ensembles, lines of JSON.

Reading is apart from taking in: `directory` reads what ZooKeeper left on a disk, `restore` gives it to an ensemble.
"""
